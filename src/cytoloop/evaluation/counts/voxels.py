"""Semantic scores of one image: how well foreground is found, voxel by voxel."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

COUNTS = ("voxels_true", "voxels_predicted", "voxels_both")


def overlap_counts(
    truth: np.ndarray, prediction: np.ndarray, valid: np.ndarray | None = None
) -> dict[str, int]:
    """Count foreground voxels that are not excluded.

    Parameters
    ----------
    truth, prediction : ndarray
        ([Z,] Y, X), same shape; above 0 is foreground.
    valid : ndarray of bool, optional
        Same shape; False = excluded: whatever stands there counts for nothing.

    Returns
    -------
    dict of str to int
        ``voxels_true``, ``voxels_predicted``, ``voxels_both``. Sums over images give pooled
        scores.
    """
    true, predicted = truth > 0, prediction > 0
    if valid is not None:
        true, predicted = true & valid, predicted & valid
    return {
        "voxels_true": int(np.count_nonzero(true)),
        "voxels_predicted": int(np.count_nonzero(predicted)),
        "voxels_both": int(np.count_nonzero(true & predicted)),
    }


def overlap_scores(counts: Mapping[str, float]) -> dict[str, float]:
    """Return Dice, IoU, precision, recall and volume error.

    Dice = 2 |T and P| / (|T| + |P|), IoU = |T and P| / |T or P|, precision = |T and P| / |P|,
    recall = |T and P| / |T|, volume error = (|P| - |T|) / |T|. Where both are empty the image is
    right: Dice = IoU = 1. Precision without prediction, recall and volume error without truth
    are undefined: NaN.
    """
    true, predicted, both = (counts[name] for name in COUNTS)
    total = true + predicted
    return {
        "dice": 2 * both / total if total else 1.0,
        "iou": both / (total - both) if total else 1.0,
        "precision": both / predicted if predicted else math.nan,
        "recall": both / true if true else math.nan,
        "volume_error": (predicted - true) / true if true else math.nan,
    }
