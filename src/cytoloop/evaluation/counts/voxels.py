"""Counts of foreground voxels of one image."""

from __future__ import annotations

import numpy as np

COUNTS = ("voxels_true", "voxels_predicted", "voxels_both")


def count_voxels(
    truth: np.ndarray, prediction: np.ndarray, valid: np.ndarray | None = None
) -> dict[str, int]:
    """Count the foreground voxels outside the excluded region.

    Parameters
    ----------
    truth, prediction : ndarray
        ([Z,] Y, X), same shape; above 0 is foreground.
    valid : ndarray of bool, optional
        Same shape; False = excluded.

    Returns
    -------
    dict of str to int
        `COUNTS`: true, predicted, and both true and predicted voxels.
    """
    true, predicted = truth > 0, prediction > 0
    if valid is not None:
        true, predicted = true & valid, predicted & valid
    masks = (true, predicted, true & predicted)
    return {name: int(np.count_nonzero(m)) for name, m in zip(COUNTS, masks, strict=True)}
