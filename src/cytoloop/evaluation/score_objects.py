"""Score one image: its row of the table, its objects, its probability levels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cytoloop.errors import ImageError
from cytoloop.evaluation.counts.calibration import calibration_error, level_counts, read_levels
from cytoloop.evaluation.counts.matching import match_instances
from cytoloop.evaluation.counts.object_table import ObjectTable, take_census, voxel_volume
from cytoloop.evaluation.counts.objects import instance_counts, instance_scores
from cytoloop.evaluation.counts.surfaces import surface_scores
from cytoloop.evaluation.counts.voxels import overlap_counts, overlap_scores
from cytoloop.evaluation.inputs.images import (
    ABOVE,
    GUESS,
    picture_column,
    read_objects,
    read_truth,
    voxel_size,
)
from cytoloop.manifest import Row, format_spacing

_TRUE_FILES = ("seg1", "seg2", "merge_mask", "exclude_mask")
_PREDICTED_FILES = ("labels", "mask", "probability")
_CHOICES = ("base_image", "channel_seg1", "channel_seg2", "split")
_RAW_CHOICES = ("channel", "scene", "time")


@dataclass(frozen=True)
class Scored:
    """What one image gave.

    Attributes
    ----------
    row : dict
        Files, counts, scores.
    objects : (Census, Census)
        True and predicted ones.
    voxel_um3 : float or None
        Volume of a voxel (in 2D its area in um2), None where it is not known.
    levels : ndarray of int or None
        See `cytoloop.evaluation.counts.calibration.level_counts`; None without a probability map.
    """

    row: dict[str, Any]
    objects: tuple[ObjectTable, ObjectTable]
    voxel_um3: float | None
    levels: np.ndarray | None


def score_pair(
    prediction: Row,
    true: Row,
    tolerance_um: float = 1.0,
    spacing_um: Sequence[float] | None = None,
) -> Scored | None:
    """Score an image; None if all of it is excluded.

    Parameters
    ----------
    prediction, true : Row
    tolerance_um : float
        Of surface Dice; in voxels where the voxel size is not known.
    spacing_um : sequence of float, optional
        (Z, Y, X) voxel size where neither rows nor files state it.

    Raises
    ------
    ImageError
        Unreadable, no labels, or of another shape.
    """
    labels, pieces = read_objects(prediction)
    truth, valid, from_mask = read_truth(true)
    check_shape(prediction, labels, truth)
    levels = _levels(prediction, truth)
    if not valid.any():
        return None  # an empty image is a perfect one: it must not lift the mean
    counted = None if valid.all() else valid
    spacing = voxel_size(prediction, true, spacing_um)
    steps = spacing[-truth.ndim :] if spacing else None
    voxels = overlap_counts(truth, labels, counted)
    matching = match_instances(truth, labels, counted)
    counts = instance_counts(matching)
    table = None if levels is None else level_counts(levels, truth, counted)
    row = {
        "id": prediction.id,
        "group": true["group"] or prediction["group"],
        **overlap_scores(voxels),
        **surface_scores(truth, labels, counted, steps or (1.0,) * truth.ndim, tolerance_um),
        **instance_scores(counts),
        "ece": math.nan if table is None else calibration_error(table),
        **counts,
        "fp_50": counts["n_predicted"] - counts["tp_50"],
        "fn_50": counts["n_truth"] - counts["tp_50"],
        **voxels,
        "unit": "voxel" if spacing is None else "um",
        "truth_is_binary": from_mask,
        "prediction_is_binary": pieces,
        "run_id": prediction["run_id"],
        **manifest_cells(prediction, true, "mask" if pieces else "labels"),
        "spacing_um": format_spacing(spacing),
    }
    return Scored(row, take_census(truth, labels, counted, matching), voxel_volume(steps), table)


def check_shape(prediction: Row, labels: np.ndarray, truth: np.ndarray) -> None:
    """Refuse a prediction of another shape than the truth.

    Raises
    ------
    ImageError
    """
    if labels.shape != truth.shape:
        raise ImageError(
            prediction.named(picture_column(prediction) or GUESS),
            f"shape {labels.shape} but the truth is {truth.shape}",
            "Prediction and truth must be the same picture.",
        )


def _levels(prediction: Row, truth: np.ndarray) -> np.ndarray | None:
    """Return the probability map of a prediction as levels, None where it names none."""
    path = prediction.file("probability")
    if path is None:
        return None
    levels = read_levels(path)
    if levels.shape != truth.shape:
        raise ImageError(
            str(path),
            f"shape {levels.shape} but the truth is {truth.shape}",
            "Probability and truth must be the same picture.",
        )
    return levels


def manifest_cells(prediction: Row, true: Row, kind: str) -> dict[str, str]:
    """Return what makes a row of scores a manifest row: the same truth, read the same way."""
    cells = {name: true.named(name) for name in _TRUE_FILES}
    cells |= {name: prediction.named(name) for name in _PREDICTED_FILES}
    if prediction[ABOVE]:
        cells[ABOVE] = prediction[ABOVE]
    else:
        cells[kind] = cells[kind] or prediction.named(GUESS)
    cells["raw"] = prediction.named("raw") or true.named("raw")
    cells |= {name: true[name] or prediction[name] for name in _CHOICES}
    return cells | {name: prediction[name] or true[name] for name in _RAW_CHOICES}
