"""Calibration of a probability map: whether 8 of 10 voxels at 0.8 are foreground.

A map is reduced to 256 values (0..255, as `cytoloop predict` writes it). Its histogram over
background and foreground, 2 x 256 numbers, gives every score of an image. The sum of the histograms
of many images gives the pooled scores.
"""

from __future__ import annotations

from typing import Any

import numpy as np

VALUES = 256
BINS = 10
"""Bins of the calibration error: [0, .1), [.1, .2) ... [.9, 1]."""

THRESHOLDS = tuple(round(0.05 * i, 2) for i in range(1, 20))
_MAX = VALUES - 1


def probability_histogram(
    probability: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None
) -> np.ndarray:
    """Return the histogram of a probability map over background and foreground.

    Parameters
    ----------
    probability : ndarray of uint8
        ([Z,] Y, X), 0..255.
    truth : ndarray
        Same shape; above 0 is foreground.
    valid : ndarray of bool, optional
        Same shape; False = excluded.

    Returns
    -------
    ndarray of int
        (2, 256): voxels of background and of foreground with each value.
    """
    true = truth > 0
    sides = (~true, true) if valid is None else (~true & valid, true & valid)
    return np.stack([np.bincount(probability[side], minlength=VALUES) for side in sides])


def reliability(histogram: np.ndarray) -> list[dict[str, float]]:
    """Return the bins that hold voxels: range, voxels, mean probability, fraction of foreground.

    Parameters
    ----------
    histogram : ndarray of int
        (2, 256), see `probability_histogram`.
    """
    values = np.arange(VALUES)
    # whole numbers: value / 255 * 10 would put some edges into the bin below
    places = np.minimum(values * BINS // _MAX, BINS - 1)
    bins = []
    for number in range(BINS):
        inside = places == number
        voxels = int(histogram[:, inside].sum())
        if voxels:
            total = (histogram[:, inside].sum(axis=0) * values[inside]).sum()
            bins.append(
                {
                    "from": number / BINS,
                    "to": (number + 1) / BINS,
                    "voxels": voxels,
                    "probability": float(total / _MAX / voxels),
                    "true": float(histogram[1, inside].sum() / voxels),
                }
            )
    return bins


def calibration_error(histogram: np.ndarray) -> float:
    """Return the expected calibration error (ECE), 0 (best) to 1.

    It is the mean distance between the mean probability of a bin and its fraction of foreground,
    weighted by the voxels of the bin (Naeini et al. 2015, Guo et al. 2017).
    """
    bins = reliability(histogram)
    total = sum(one["voxels"] for one in bins)
    return sum(one["voxels"] * abs(one["probability"] - one["true"]) for one in bins) / total


def dice_by_threshold(histogram: np.ndarray) -> list[dict[str, float]]:
    """Return Dice of the voxels above each of `THRESHOLDS`."""
    true = int(histogram[1].sum())
    curve = []
    for threshold in THRESHOLDS:
        above = histogram[:, np.arange(VALUES) / _MAX > threshold]
        total = true + int(above.sum())
        dice = 2 * int(above[1].sum()) / total if total else 1.0
        curve.append({"threshold": threshold, "dice": dice})
    return curve


def summarise_calibration(histogram: np.ndarray, images: int) -> dict[str, Any]:
    """Return the pooled calibration for the summary.

    Parameters
    ----------
    histogram : ndarray of int
        (2, 256), sum over the images.
    images : int
        Number of images with a probability map.
    """
    curve = dice_by_threshold(histogram)
    best = max(curve, key=lambda point: point["dice"])
    return {
        "images": images,
        "ece": calibration_error(histogram),
        "bins": reliability(histogram),
        "dice_by_threshold": curve,
        "best_threshold": best["threshold"],
        "best_dice": best["dice"],
    }
