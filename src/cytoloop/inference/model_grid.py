"""The grid on which a model sees an image, and the facts that post-processing needs there."""

from __future__ import annotations

from cytoloop.inference.measure_objects import measure_diameter
from cytoloop.inference.postprocess.training_facts import TrainingFacts
from cytoloop.inference.settings import NO_DIAMETER, ReadingSettings
from cytoloop.inference.windows.object_scale import facts_of_objects, finest_side
from cytoloop.inference.windows.predictor import Predictor
from cytoloop.inference.windows.probability_maps import resample_to_objects, resample_to_training
from cytoloop.io.pixels import Pixels


def stated_diameter(predictor: Predictor, settings: ReadingSettings) -> float | str | None:
    """Return the diameter in um, ``auto``, or None for an image that stays as it is.

    A model of objects of many sizes, such as a shipped one, measures them unless settings say
    otherwise.
    """
    diameter = settings.object_diameter_um
    if diameter == NO_DIAMETER:
        return None
    if diameter is None and settings.resample is not True:
        return "auto" if predictor.image.get("object_diameter_px") else None
    return diameter


def facts_of_model(predictor: Predictor, settings: ReadingSettings) -> TrainingFacts:
    """Return the facts for post-processing that hold for all images."""
    diameter = stated_diameter(predictor, settings)
    if diameter is None or isinstance(diameter, str):
        return predictor.training
    return facts_of_objects(predictor.training, diameter, int(predictor.image["spatial_dims"]))


def on_grid_of_model(
    name: str, pixels: Pixels, predictor: Predictor, settings: ReadingSettings
) -> tuple[Pixels, TrainingFacts]:
    """Return an image on the grid on which the model sees it, and the facts for its objects.

    Parameters
    ----------
    name : str
        Of the image, for messages.
    pixels : Pixels
    predictor : Predictor
    settings : ReadingSettings

    Raises
    ------
    ConfigError
        The model does not say how large its training objects were.
    """
    diameter = stated_diameter(predictor, settings)
    if diameter is None:
        return resample_to_training(pixels, predictor, settings.resample), predictor.training
    if isinstance(diameter, str):
        diameter = measure_diameter(name, pixels, predictor)
        if diameter is None:
            return pixels, predictor.training
    dims = int(predictor.image["spatial_dims"])
    finest = finest_side(pixels.spacing_um, dims)
    facts = facts_of_objects(predictor.training, diameter, dims, finest)
    return resample_to_objects(pixels, predictor, diameter), facts
