"""The labelled images of a calibration: read, and predicted as `predict` does it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from cytoloop.errors import Faults, ImageError, ManifestError
from cytoloop.evaluation.inputs.images import read_truth
from cytoloop.inference.inputs.list_inputs import list_inputs
from cytoloop.inference.inputs.open_input import open_input
from cytoloop.inference.model_grid import on_grid_of_model
from cytoloop.inference.postprocess.training_facts import TrainingFacts
from cytoloop.inference.settings import BRIGHTNESS, ReadingSettings
from cytoloop.inference.volume_storage import VolumeStorage
from cytoloop.inference.windows.brightness import brightness
from cytoloop.inference.windows.object_scale import diameter_of
from cytoloop.inference.windows.plane_maps import predict_image_maps
from cytoloop.inference.windows.predictor import Predictor
from cytoloop.inference.windows.probability_maps import ProbabilityMaps, resample_to_image
from cytoloop.io.pixels import Pixels
from cytoloop.io.voxel_size import Spacing
from cytoloop.manifest import Row
from cytoloop.training.tuning_images import evenly, true_objects


@dataclass(frozen=True)
class PredictedImage:
    """A labelled image as the model sees it.

    Attributes
    ----------
    maps : dict of str to Volume
        ([Z,] Y, X) each, on the grid of the image.
    facts : TrainingFacts
        With which `predict` finds the objects of this image.
    """

    maps: ProbabilityMaps
    facts: TrainingFacts


@dataclass(frozen=True)
class LabelledImage:
    """A labelled image, as `cytoloop.training.tuning_images.AnnotatedImage`.

    Attributes
    ----------
    id : str
        Of the row.
    pixels : Pixels
    labels : ndarray of integers
        ([Z,] Y, X), 0 = background.
    valid : ndarray of bool
        ([Z,] Y, X); False where the image is excluded.
    """

    id: str
    pixels: Pixels
    labels: np.ndarray
    valid: np.ndarray

    @property
    def image(self) -> np.ndarray:
        """Return the grey levels, (C, [Z,] Y, X)."""
        return self.pixels.read(tuple(slice(0, n) for n in self.pixels.shape))

    @property
    def spacing_um(self) -> Spacing | None:
        """Return the voxel size (Z, Y, X); None where it is unknown."""
        return self.pixels.spacing_um


def read_labelled(
    table: str | Path, predictor: Predictor, settings: ReadingSettings
) -> list[LabelledImage]:
    """Return the labelled images of a table, at most 16 of them, evenly spaced.

    Parameters
    ----------
    table : str or Path
        CSV with the columns ``raw`` and ``seg1``, or a folder that stands for one.
    predictor : Predictor
    settings : ReadingSettings

    Raises
    ------
    ManifestError
        A row names no segmentation.
    ImageError, ConfigError
        With all images that cannot be read, or whose labels have another shape.
    """
    faults = Faults()
    rows = _labelled_rows(table)
    found = [faults.attempt(partial(_read, row, predictor, settings)) for row in rows]
    faults.raise_all(f"calibrate={table}")
    return [one for one in found if one is not None]


def _labelled_rows(table: str | Path) -> list[Row]:
    """Return at most 16 rows of a table, evenly spaced.

    Raises
    ------
    ManifestError
        A row names no segmentation.
    """
    rows = list_inputs(table)
    if lacking := [row.id for row in rows if not (row["seg1"] or row["seg2"])]:
        raise ManifestError(
            str(table),
            [f"{one}: no seg1" for one in lacking],
            "Give a CSV with the columns raw and seg1, such as train.csv of a data set.",
        )
    return evenly(rows)


def _read(row: Row, predictor: Predictor, settings: ReadingSettings) -> LabelledImage:
    pixels = open_input(row, predictor, replace(settings, pyramid_level=0))
    labels, valid, _ = read_truth(row)
    if labels.shape != tuple(pixels.shape):
        raise ImageError(
            row["seg1"] or row["seg2"],
            f"shape {labels.shape} but raw ({row['raw']}) is {tuple(pixels.shape)}",
            "Give image and labels of the same size.",
        )
    return LabelledImage(row.id, pixels, labels, valid)


def with_diameter(
    settings: ReadingSettings, examples: Sequence[LabelledImage], predictor: Predictor
) -> ReadingSettings:
    """Return the settings with the diameter of the labelled objects, if the model can use it."""
    stated = settings.object_diameter_um not in (None, "auto") or settings.resample is True
    if stated or not predictor.image.get("object_diameter_px"):
        return settings
    diameters, sizes = [], []
    for one in examples:
        spacing = one.spacing_um or (1.0, 1.0, 1.0)
        dims = one.labels.ndim
        voxels = np.bincount(true_objects(one).ravel())[1:]
        volumes = voxels[voxels > 0] * math.prod(spacing[-dims:])
        diameters += [diameter_of(float(volume), dims) for volume in volumes]
        sizes += volumes.tolist()
    order = np.argsort(diameters)
    weight = np.cumsum(np.array(sizes)[order])
    middle = np.array(diameters)[order][np.searchsorted(weight, weight[-1] / 2)]
    return replace(settings, object_diameter_um=round(float(middle), 4))


def predict_labelled(
    one: LabelledImage, predictor: Predictor, settings: ReadingSettings, with_brightness: bool
) -> PredictedImage:
    """Return the maps of a labelled image.

    Parameters
    ----------
    one : LabelledImage
    predictor : Predictor
    settings : ReadingSettings
    with_brightness : bool
        Also the map by which haze is cut off; for one channel only.
    """
    storage = VolumeStorage()
    seen, facts = on_grid_of_model(one.id, one.pixels, predictor, settings)
    maps = predict_image_maps(one.id, seen, predictor, storage)
    if with_brightness and len(seen.channels) == 1:
        maps[BRIGHTNESS] = brightness(maps, seen, predictor.training, storage)
    return PredictedImage(resample_to_image(maps, one.pixels.shape, storage), facts)
