"""`cytoloop.predict`: an array in, arrays out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.inference.model_source import ModelSource
from cytoloop.inference.postprocess.classes import class_volume, thresholds_of
from cytoloop.inference.postprocess.settings import (
    POSTPROCESS,
    TrainingFacts,
    instance_rule,
    resolve_tuned,
)
from cytoloop.inference.predict_image import check_spacing
from cytoloop.inference.settings import Settings, check_settings
from cytoloop.inference.volume_storage import VolumeStorage
from cytoloop.inference.windows.probability_maps import (
    ProbabilityMaps,
    predict_maps,
    resample_to_image,
    resample_to_training,
)
from cytoloop.instances import segment
from cytoloop.instances.blocks import Blocks
from cytoloop.instances.thresholds import choose_threshold, histogram
from cytoloop.io.pixels import array_pixels


@dataclass(frozen=True)
class Prediction:
    """What a model finds in an image.

    Attributes
    ----------
    probability : ndarray of float32
        ([Z,] Y, X), 0 to 1, in steps of 1/255; of classes (C, [Z,] Y, X).
    mask : ndarray of bool
        ([Z,] Y, X); of classes uint8, the class of each voxel, 0 = none.
    labels : ndarray of unsigned integers
        ([Z,] Y, X), 1..N; 0 = background. A model of classes tells no objects: 0 everywhere.
    objects : dict of str to ndarray
        A column for each measure, see `cytoloop.instances.objects.ObjectSums.table`; empty for
        classes.
    threshold : float
        Probability above which a voxel is in the mask; NaN for classes.
    classes : dict of str to float
        Names, in the order of the values of the mask, and the threshold of each; empty where the
        model tells foreground.
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
    resample: bool = False,
    tta: str = "none",
    overlap: float | str = "auto",
    window: str = "auto",
    batch_size: int | str = "auto",
    accelerator: str = "auto",
    precision: str = "auto",
    **postprocess: Any,
) -> Prediction:
    """Predict an array; see `cytoloop.predict`."""
    settings = Settings(
        {**POSTPROCESS, **postprocess}, resample=resample, tta=tta, overlap=overlap, window=window,
        batch_size=batch_size, spacing_um=_spacing(spacing_um),
    )  # fmt: skip
    check_settings(settings)
    paths = tuple(str(path) for path in checkpoints)
    predictor = ModelSource(paths, overlap, tta, accelerator, precision, window).load()
    pixels = array_pixels(array, settings.spacing_um, channel_axis)
    predictor.check("array", pixels)
    check_spacing("array", settings.spacing_um, predictor, resample)
    scratch = VolumeStorage(None)
    seen = resample_to_training(pixels, predictor) if resample else pixels
    stored = predict_maps("array", seen, predictor, scratch, batch_size=batch_size)
    maps = resample_to_image(stored, pixels.shape, scratch)
    trained = TrainingFacts.from_checkpoint(predictor.image)
    if trained.classes:
        return _of_classes(maps, trained, settings)
    levels = np.asarray(maps["probability"])
    rules = resolve_tuned(settings.postprocess, trained)
    counts = histogram(levels, Blocks(levels.shape, levels.shape))
    threshold = choose_threshold(rules["threshold"], counts)
    rule = instance_rule(rules, threshold, settings.spacing_um, trained, levels.ndim)
    assumed = settings.spacing_um or trained.spacing_um
    labels, sums = segment(
        levels, rule, assumed, depth=maps.get("distance"), contour=maps.get("contour")
    )
    return Prediction(
        levels.astype(np.float32) / 255,
        levels > threshold * 255,
        np.asarray(labels),
        sums.table(settings.spacing_um),
        threshold,
    )


def _of_classes(maps: ProbabilityMaps, trained: TrainingFacts, settings: Settings) -> Prediction:
    thresholds = thresholds_of(settings.postprocess, trained, maps)
    classes = np.asarray(class_volume(maps, thresholds, VolumeStorage(None)))
    return Prediction(
        np.stack([np.asarray(one) for one in maps.values()]).astype(np.float32) / 255,
        classes,
        np.zeros(classes.shape, np.uint8),
        {},
        math.nan,
        dict(zip(trained.classes, thresholds, strict=True)),
    )


def _spacing(given: Sequence[float] | None) -> tuple[float, float, float] | None:
    """Return (z, y, x); of (y, x) with a z of 1."""
    if given is None:
        return None
    values = [float(s) for s in given]
    z, y, x = [1.0, *values] if len(values) == 2 else (values + [0.0] * 3)[:3]
    return (z, y, x)
