"""The grid on which a model sees an image, and the facts that post-processing needs there."""

from __future__ import annotations

from cytoloop.errors import ImageError
from cytoloop.inference.measure_objects import measure_diameter
from cytoloop.inference.postprocess.training_facts import TrainingFacts
from cytoloop.inference.settings import NO_DIAMETER, ReadingSettings
from cytoloop.inference.windows.object_scale import (
    facts_of_objects,
    finest_side,
    pixels_across,
)
from cytoloop.inference.windows.predictor import Predictor
from cytoloop.inference.windows.probability_maps import resample_to_objects, resample_to_training
from cytoloop.io.pixels import Pixels

_LEAST_PIXELS = 2.0
"""Diameter of the smallest objects that an image can show."""
_MOST_SIDES = 2.0
"""Diameter of the largest objects, in sides of the image: a crop may show a part of one."""


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
    ImageError
        The stated diameter cannot be that of objects in this image.
    """
    diameter = stated_diameter(predictor, settings)
    if diameter is None:
        return resample_to_training(pixels, predictor, settings.resample), predictor.training
    if isinstance(diameter, str):
        diameter = measure_diameter(name, pixels, predictor)
        if diameter is None:
            return pixels, predictor.training
    else:
        _check_diameter(name, pixels, diameter)
    dims = int(predictor.image["spatial_dims"])
    finest = finest_side(pixels.spacing_um, dims)
    facts = facts_of_objects(predictor.training, diameter, dims, finest)
    return resample_to_objects(pixels, predictor, diameter), facts


def _check_diameter(name: str, pixels: Pixels, diameter: float) -> None:
    """Refuse a diameter that objects of an image cannot have: it may be in another unit.

    Raises
    ------
    ImageError
    """
    across, side = pixels_across(diameter, pixels), max(pixels.shape[-2:])
    if _LEAST_PIXELS <= across <= _MOST_SIDES * side:
        return
    unit = "um" if pixels.spacing_um else "pixels, since the voxel size is unknown"
    raise ImageError(
        name,
        f"object_diameter_um={diameter:g} is {round(across, 1):g} pixels, expected "
        f"{_LEAST_PIXELS:g} to {_MOST_SIDES * side:g} ({_MOST_SIDES:g} sides of the image)",
        f"Give it in {unit}, or leave it out.",
    )
