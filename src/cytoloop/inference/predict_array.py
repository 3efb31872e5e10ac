"""`cytoloop.predict`: prediction of an array."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.errors import ModelError
from cytoloop.inference.inputs.open_input import check_fits_model, check_spacing
from cytoloop.inference.model_grid import on_grid_of_model
from cytoloop.inference.model_source import load_predictor
from cytoloop.inference.postprocess.segment_maps import segment_maps
from cytoloop.inference.postprocess.skeleton_maps import label_skeletons
from cytoloop.inference.read_settings import array_settings
from cytoloop.inference.volume_storage import VolumeStorage
from cytoloop.inference.windows.brightness import with_brightness
from cytoloop.inference.windows.map_names import INTENSITY, SKELETONS
from cytoloop.inference.windows.plane_maps import predict_image_maps
from cytoloop.inference.windows.probability_maps import (
    resample_to_image,
)
from cytoloop.instances.distance_map import full_scale
from cytoloop.io.pixels import pixels_from_array


@dataclass(frozen=True)
class Prediction:
    """The prediction of an image.

    Attributes
    ----------
    probability : ndarray of float32
        ([Z,] Y, X), 0 to 1, in steps of 1/255; for classes (C, [Z,] Y, X).
    mask : ndarray of bool
        ([Z,] Y, X); for classes uint8, the class of each voxel, 0 = none.
    labels : ndarray of unsigned integers
        ([Z,] Y, X), 1..N, 0 = background; 0 everywhere for classes.
    objects : dict of str to ndarray
        A column for each measure, see `cytoloop.instances.objects.ObjectSums.table`; empty for
        classes.
    threshold : float
        Probability above which a voxel is in the mask; NaN for classes.
    classes : dict of str to float
        Threshold of each class by name, in the order of the values of the mask; empty for a model
        of foreground.
    """

    probability: np.ndarray
    mask: np.ndarray
    labels: np.ndarray
    objects: Mapping[str, np.ndarray]
    threshold: float
    classes: Mapping[str, float] = field(default_factory=dict)


def predict_array(
    array: Any,
    checkpoints: Sequence[str | Path],
    spacing_um: Sequence[float] | None = None,
    channel_axis: int | None = None,
    **options: Any,
) -> Prediction:
    """Return the prediction of an array; see `cytoloop.predict`.

    Parameters
    ----------
    array : array
        ([Z,] Y, X), or with a channel axis.
    checkpoints : sequence of str or Path
        Several are an ensemble.
    spacing_um : sequence of float, optional
        Voxel size (Z, Y, X), or (Y, X).
    channel_axis : int, optional
    **options
        See `cytoloop.inference.read_settings.array_settings`.
    """
    settings = array_settings(spacing_um, options)
    spacing = settings.reading.spacing_um
    predictor = load_predictor(tuple(str(path) for path in checkpoints), settings.windows)
    if predictor.training.output == INTENSITY:
        raise ModelError(
            str(checkpoints[0]),
            "predicts an image, not a probability",
            "Predict files: `cytoloop predict input=IMAGE output=FOLDER`.",
        )
    pixels = pixels_from_array(array, spacing, channel_axis)
    check_fits_model("array", pixels, predictor, settings.reading.planes)
    check_spacing("array", spacing, predictor, settings.reading)
    storage = VolumeStorage()
    resampled, training = on_grid_of_model("array", pixels, predictor, settings.reading)
    maps = predict_image_maps("array", resampled, predictor, storage)
    if training.output == SKELETONS:
        maps = label_skeletons(maps, settings.postprocess, training)
    post = settings.postprocess
    maps = with_brightness(maps, resampled, post, predictor.training, storage)
    maps = resample_to_image(maps, pixels.shape, storage)
    found = segment_maps(maps, spacing, settings.postprocess, training, storage.create)
    mask = np.asarray(found.volumes["mask"])
    if training.classes:
        return Prediction(
            np.stack([np.asarray(one) for one in maps.values()]).astype(np.float32) / 255,
            mask,
            np.zeros(mask.shape, np.uint8),
            {},
            math.nan,
            dict(zip(training.classes, found.thresholds, strict=True)),
        )
    return Prediction(
        np.asarray(maps["probability"], np.float32) / full_scale(maps["probability"].dtype),
        mask.astype(bool),
        np.asarray(found.volumes["labels"]),
        found.objects.table(spacing) if found.objects is not None else {},
        found.thresholds[0],
    )
