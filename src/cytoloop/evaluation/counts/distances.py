"""How far some voxels lie from others.

Surfaces of a fair prediction lie a few voxels from the true ones. So the nearest voxel is looked
for close by first, which is ten times as fast as a distance transform of the whole image; that
is taken where too many voxels have nothing close by.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import edt
import numpy as np

_REACH = 4
"""Voxels along each axis that are looked at around a voxel."""

_TAIL = 0.95


def near_distances(
    start: np.ndarray, end: np.ndarray, spacing: Sequence[float], least: float
) -> np.ndarray:
    """Return the distance of each voxel of `start` to the nearest of `end`.

    Parameters
    ----------
    start, end : ndarray of bool
        ([Z,] Y, X), neither empty.
    spacing : sequence of float
        ([Z,] Y, X) voxel size.
    least : float
        Distances up to this one are told in any case.

    Returns
    -------
    ndarray of float
        One for each voxel of `start`, in the unit of `spacing`, in no particular order. Those
        above both `least` and the 95th percentile may be infinite.
    """
    found = _look_around(start, end, spacing, least)
    if found is not None:
        return found
    # squared, for the root of every voxel of the image takes as long as the rest
    squared = edt.edtsq(~end, anisotropy=tuple(spacing), black_border=False, parallel=1)
    return np.asarray(np.sqrt(squared[start]), float)


def _look_around(
    start: np.ndarray, end: np.ndarray, spacing: Sequence[float], least: float
) -> np.ndarray | None:
    """Return the distances as `near_distances` does, None where that would take too long."""
    steps = list(itertools.product(range(-_REACH, _REACH + 1), repeat=start.ndim))
    lengths = np.sqrt((np.array(steps) ** 2 * np.array(spacing, float) ** 2).sum(axis=1))
    padded = np.pad(end, _REACH)
    strides = np.array(padded.strides) // padded.itemsize
    places = np.flatnonzero(np.pad(start, _REACH))
    total, looked = len(places), 0
    # NumPy's percentile looks at two neighbours, and its place may be rounded to the next
    needed = min(int(_TAIL * (total - 1)) + 3, total)
    flat = padded.ravel()
    distances: list[np.ndarray] = []
    for number in np.argsort(lengths, kind="stable"):
        length = float(lengths[number])
        enough = total - len(places) >= needed and length > least
        if enough or not len(places):
            return np.concatenate([*distances, np.full(len(places), math.inf)])
        # further out a step that is not looked at may be shorter; and there is a limit to patience
        if length >= min(spacing) * (_REACH + 1) or looked > start.size:
            return None
        looked += len(places)
        hit = flat[places + int(np.array(steps[number]) @ strides)]
        distances.append(np.full(np.count_nonzero(hit), length))
        places = places[~hit]
    return None
