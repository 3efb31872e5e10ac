"""Probability scores: does 0.8 mean that 8 of 10 voxels are foreground, and where to cut.

A map is reduced to 256 levels (0..255, as `predict` writes it) and counted once: one table of
2 x 256 numbers gives every score of an image, and the sum of the tables those of all images.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.evaluation.inputs.probability_maps import read_map

LEVELS = 256
BINS = 10
"""Bins of the calibration error: [0, .1), [.1, .2) ... [.9, 1]."""

THRESHOLDS = tuple(round(0.05 * i, 2) for i in range(1, 20))
_TOP = LEVELS - 1


def read_levels(path: str | Path) -> np.ndarray:
    """Read a probability map as levels.

    Returns
    -------
    ndarray of uint8
        ([Z,] Y, X), 0..255 for probability 0..1.

    Raises
    ------
    ImageError
        Unreadable, or neither uint8, uint16 nor fractions from 0 to 1.
    """
    data, top = read_map(path)
    return data if data.dtype == np.uint8 else np.round(data / top * _TOP).astype(np.uint8)


def level_counts(
    levels: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None
) -> np.ndarray:
    """Count voxels by level.

    Parameters
    ----------
    levels : ndarray of uint8
        ([Z,] Y, X).
    truth : ndarray
        Same shape; above 0 is foreground.
    valid : ndarray of bool, optional
        Same shape; False = excluded.

    Returns
    -------
    ndarray of int
        (2, 256): background and foreground voxels of each level.
    """
    true = truth > 0
    sides = (~true, true) if valid is None else (~true & valid, true & valid)
    return np.stack([np.bincount(levels[side], minlength=LEVELS) for side in sides])


def reliability(counts: np.ndarray) -> list[dict[str, float]]:
    """Return the bins that hold voxels: their range, voxels, mean probability and share of truth.

    Parameters
    ----------
    counts : ndarray of int
        See `level_counts`.
    """
    levels = np.arange(LEVELS)
    # whole numbers: level / 255 * 10 would put some edges into the bin below
    places = np.minimum(levels * BINS // _TOP, BINS - 1)
    bins = []
    for number in range(BINS):
        inside = places == number
        voxels = int(counts[:, inside].sum())
        if voxels:
            mean = float((counts[:, inside].sum(axis=0) * levels[inside]).sum() / _TOP / voxels)
            bins.append(
                {
                    "from": number / BINS,
                    "to": (number + 1) / BINS,
                    "voxels": voxels,
                    "probability": mean,
                    "true": float(counts[1, inside].sum() / voxels),
                }
            )
    return bins


def calibration_error(counts: np.ndarray) -> float:
    """Return the expected calibration error (ECE; Naeini et al. 2015, Guo et al. 2017).

    The distance between mean probability and share of true foreground, averaged over the bins,
    each weighing as many voxels as it holds. 0..1, 0 is best.
    """
    bins = reliability(counts)
    total = sum(one["voxels"] for one in bins)
    return sum(one["voxels"] * abs(one["probability"] - one["true"]) for one in bins) / total


def dice_by_threshold(counts: np.ndarray) -> list[dict[str, float]]:
    """Return Dice of the voxels above each of `THRESHOLDS`, as `predict` cuts them."""
    true = int(counts[1].sum())
    curve = []
    for threshold in THRESHOLDS:
        above = counts[:, np.arange(LEVELS) / _TOP > threshold]
        total = true + int(above.sum())
        dice = 2 * int(above[1].sum()) / total if total else 1.0
        curve.append({"threshold": threshold, "dice": dice})
    return curve


def summarise_levels(counts: np.ndarray, images: int) -> dict[str, Any]:
    """Return the pooled calibration of many images for the summary.

    Parameters
    ----------
    counts : ndarray of int
        Sum of the tables of the images.
    images : int
        How many images have a probability map.
    """
    curve = dice_by_threshold(counts)
    best = max(curve, key=lambda point: point["dice"])
    return {
        "images": images,
        "ece": calibration_error(counts),
        "bins": reliability(counts),
        "dice_by_threshold": curve,
        "best_threshold": best["threshold"],
        "best_dice": best["dice"],
    }
