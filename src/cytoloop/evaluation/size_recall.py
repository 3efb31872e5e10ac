"""Recall by object size: whether small objects are missed more often than large ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

QUARTILES = ("q1", "q2", "q3", "q4")


def recall_by_size(
    volumes: Sequence[np.ndarray], found: Sequence[np.ndarray]
) -> tuple[list[float], list[dict[str, Any]]]:
    """Return the limits of the quartiles and the recall of each image in each of them.

    The quartiles are those of the true volumes of all images together (NumPy's linear rule). A
    volume that is a limit belongs to the smaller quartile. With many equal volumes a quartile
    may be empty.

    Parameters
    ----------
    volumes : sequence of ndarray
        Volumes of the true objects of each image, all in one unit.
    found : sequence of ndarray of bool
        Whether each of them is matched at IoU .5.

    Returns
    -------
    limits : list of float
        Five: smallest volume, the three quartiles, largest volume; empty without objects.
    images : list of dict
        For each image ``recall_q1`` (the smallest quarter of the objects) ... ``recall_q4`` (NaN
        without such objects), ``true_q1`` ... and ``found_q1`` ... objects.
    """
    every = np.concatenate([np.asarray(v, float) for v in volumes]) if volumes else np.zeros(0)
    limits = np.quantile(every, (0, 0.25, 0.5, 0.75, 1)) if len(every) else np.zeros(0)
    images = []
    for own, hit in zip(volumes, found, strict=True):
        place = np.searchsorted(limits[1:4], own) if len(every) else np.zeros(0, int)
        cells: dict[str, Any] = {}
        for number, name in enumerate(QUARTILES):
            true, matched = int((place == number).sum()), int(hit[place == number].sum())
            cells[f"recall_{name}"] = matched / true if true else math.nan
            cells[f"true_{name}"], cells[f"found_{name}"] = true, matched
        images.append(cells)
    return [float(x) for x in limits], images
