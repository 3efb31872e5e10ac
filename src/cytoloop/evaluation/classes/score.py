"""Score the classes of one image: each against all the rest, and their mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import fastremap
import numpy as np

from cytoloop.errors import ImageError
from cytoloop.evaluation.counts import surfaces, voxels
from cytoloop.evaluation.inputs.images import GUESS, voxel_size
from cytoloop.evaluation.score_objects import check_shape, manifest_cells
from cytoloop.io.labels import read_labels
from cytoloop.manifest import Row, format_spacing
from cytoloop.truth.classes import numbered
from cytoloop.truth.targets import read_target

SCORES = ("dice", "iou", "precision", "recall", "surface_dice", "hd95")
"""Of each class, ``dice_NAME`` and so on; by themselves their means over the classes."""
COUNTS = (*voxels.COUNTS, *surfaces.COUNTS)
"""What adds up over images, ``voxels_true_NAME`` and so on."""
PICTURES = ("mask", GUESS, "labels")
"""Columns that predicted classes are read from; the first one filled is taken."""


def score_classes(
    prediction: Row,
    true: Row,
    names: Sequence[str],
    tolerance_um: float = 1.0,
    spacing_um: Sequence[float] | None = None,
) -> dict[str, Any] | None:
    """Return the row of an image; None if all of it is excluded.

    A class that is neither there nor found has no scores in this image (NaN), and is left out of
    its means.

    Parameters
    ----------
    prediction, true : Row
    names : sequence of str
        Of the values 1, 2, ...
    tolerance_um : float
        Of surface Dice; in voxels where the voxel size is not known.
    spacing_um : sequence of float, optional
        (Z, Y, X) voxel size where neither rows nor files state it.

    Raises
    ------
    ImageError
        Unreadable, of another shape, or with values that are no class.
    """
    found, (truth, valid) = read_classes(prediction), read_target(true, classes=True)
    check_shape(prediction, found, truth)
    if not valid.any():
        return None
    _check_values(prediction, true, found[valid], truth[valid], names)
    spacing = voxel_size(prediction, true, spacing_um)
    steps = spacing[-truth.ndim :] if spacing else (1.0,) * truth.ndim
    counted = None if valid.all() else valid
    each: dict[str, dict[str, float]] = {}
    for value, name in enumerate(names, 1):
        sides = truth == value, found == value
        counts: dict[str, float] = {**voxels.overlap_counts(*sides, counted)}
        scores = voxels.overlap_scores(counts)
        scores |= surfaces.surface_scores(*sides, counted, steps, tolerance_um)
        counts |= {key: scores[key] for key in surfaces.COUNTS}
        shown = counts["voxels_true"] or counts["voxels_predicted"]
        each[name] = {key: scores[key] if shown else math.nan for key in SCORES} | counts
    return {
        "id": prediction.id,
        "group": true["group"] or prediction["group"],
        **{key: mean_of([one[key] for one in each.values()]) for key in SCORES},
        **{f"{key}_{name}": one[key] for name, one in each.items() for key in SCORES},
        **{f"{key}_{name}": one[key] for name, one in each.items() for key in COUNTS},
        "voxels_true": sum(one["voxels_true"] for one in each.values()),
        "unit": "voxel" if spacing is None else "um",
        "classes": " ".join(names),
        "run_id": prediction["run_id"],
        **manifest_cells(prediction, true, "mask"),
        "spacing_um": format_spacing(spacing),
    }


def read_classes(row: Row) -> np.ndarray:
    """Return the predicted class of each voxel, ([Z,] Y, X) of unsigned integers.

    Raises
    ------
    ImageError
        The row names none, or the file cannot be read.
    """
    column = next((name for name in PICTURES if row[name]), None)
    path = row.file(column) if column else None
    if path is None:
        raise ImageError(row.id, "has no class image", "Predict it again, with save=[mask].")
    return read_labels(path)


def mean_of(values: Sequence[float]) -> float:
    """Return the mean of what is defined, NaN where nothing is."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def _check_values(
    prediction: Row, true: Row, found: np.ndarray, truth: np.ndarray, names: Sequence[str]
) -> None:
    """Refuse values that are no class, where they count."""
    problems = []
    for what, values in (("the prediction", found), ("the truth", truth)):
        beyond = [int(v) for v in fastremap.unique(values) if v > len(names)]
        if beyond:
            some = ", ".join(map(str, beyond[:5])) + (" ..." if beyond[5:] else "")
            problems.append(f"{what} holds values that are no class: {some}")
    if problems:
        raise ImageError(
            prediction.id,
            problems,
            f"The classes are {numbered(names)}; name all of them: classes=[...]. Objects (a "
            "number for each) are scored without classes=.",
        )
