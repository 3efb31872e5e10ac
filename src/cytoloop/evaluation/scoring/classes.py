"""Score the classes of one image: each class against all other voxels, and their mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import fastremap
import numpy as np

from cytoloop.errors import ImageError
from cytoloop.evaluation.counts import surfaces, voxels
from cytoloop.evaluation.inputs.classes import read_class_image
from cytoloop.evaluation.inputs.images import find_spacing, note_spacing_conflict
from cytoloop.evaluation.metrics import METRICS, Metric, mean_of_defined
from cytoloop.evaluation.scoring.conditions import (
    identities,
    pixel_digest,
    setting_cells,
    truth_cell,
)
from cytoloop.evaluation.scoring.image import (
    ScoredImage,
    check_shape,
    manifest_cells,
    prediction_file,
)
from cytoloop.evaluation.settings import EvaluationSettings
from cytoloop.manifest import Row
from cytoloop.truth.classes import describe_classes
from cytoloop.truth.targets import read_target

COUNTS = (*voxels.COUNTS, *surfaces.COUNTS)
"""Counts of each class that add up over images: columns ``voxels_true_NAME`` and so on."""


def score_classes(
    prediction: Row, true: Row, settings: EvaluationSettings, names: Sequence[str]
) -> ScoredImage | None:
    """Score the classes of an image; None if all of it is excluded.

    A class without true and predicted voxels has no scores in this image (NaN), and is left out of
    the mean over the classes.

    Parameters
    ----------
    prediction, true : Row
    settings : EvaluationSettings
    names : sequence of str
        Names of the values 1, 2, ...

    Raises
    ------
    ImageError
        A file that cannot be read, has another shape than the truth, or values without a class.
    """
    found, (truth, valid) = read_class_image(prediction), read_target(true, classes=True)
    check_shape(prediction_file(prediction), found, truth)
    if not valid.any():
        return None
    _check_values(prediction, found[valid], truth[valid], names)
    spacing = find_spacing(prediction, true, settings.spacing_um)
    note_spacing_conflict(prediction, true, truth.ndim)
    steps = spacing[-truth.ndim :] if spacing else (1.0,) * truth.ndim
    counted = None if valid.all() else valid
    counts: dict[str, Any] = {}
    for value, name in enumerate(names, 1):
        sides = truth == value, found == value
        own = {
            **voxels.count_voxels(*sides, counted),
            **surfaces.count_surfaces(*sides, counted, steps, settings.tolerance_um),
        }
        counts |= {f"{count}_{name}": number for count, number in own.items()}
    metrics = [metric for metric in METRICS.values() if metric.per_class]
    row = {
        **manifest_cells(prediction, true, "mask", spacing),
        **compute_class_scores(counts, names, metrics),
        **{name: counts[name] for name in count_columns(names)},
        "voxels_true": sum(counts[f"voxels_true_{name}"] for name in names),
        "classes": " ".join(names),
        **setting_cells(settings),
        **truth_cell(truth, valid),
    }
    keys = identities(prediction, true, row, pixel_digest(found))
    return ScoredImage(prediction, true, row, keys=tuple(keys))


def count_columns(names: Sequence[str]) -> list[str]:
    """Return the columns of the counts of all classes."""
    return [f"{count}_{name}" for name in names for count in COUNTS]


def compute_class_scores(
    counts: Mapping[str, Any], names: Sequence[str], metrics: Sequence[Metric]
) -> dict[str, float]:
    """Return each metric of each class (``METRIC_CLASS``), and its mean over the classes.

    Parameters
    ----------
    counts : mapping
        ``COUNT_CLASS`` to number, of one image or added up over images.
    names : sequence of str
        Classes. A class without true and predicted voxels has no scores (NaN).
    metrics : sequence of Metric
    """
    each: dict[str, float] = {}
    for name in names:
        keys = [*COUNTS, "surface_distance_95"]
        own = {key: counts[f"{key}_{name}"] for key in keys if f"{key}_{name}" in counts}
        is_present = own["voxels_true"] or own["voxels_predicted"]
        each |= {
            f"{metric.name}_{name}": metric.score(own) if is_present else math.nan
            for metric in metrics
        }
    means = {
        metric.name: mean_of_defined(each[f"{metric.name}_{name}"] for name in names)
        for metric in metrics
    }
    return means | each


def _check_values(
    prediction: Row, found: np.ndarray, truth: np.ndarray, names: Sequence[str]
) -> None:
    """Raise where voxels that count have values without a class."""
    problems = []
    for side, values in (("prediction", found), ("truth", truth)):
        unknown = [int(v) for v in fastremap.unique(values) if v > len(names)]
        if unknown:
            listed = ", ".join(map(str, unknown[:5])) + (" ..." if unknown[5:] else "")
            problems.append(f"the {side} holds values without a class: {listed}")
    if problems:
        raise ImageError(
            prediction.id,
            problems,
            f"The classes are {describe_classes(names)}. Name all classes with classes=[...]. To "
            "score objects (one number each), leave classes= out.",
        )
