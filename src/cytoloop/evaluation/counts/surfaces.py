"""Counts of surface voxels of one image, and how far predicted surfaces lie from the true ones.

- A surface voxel is a foreground voxel with a background voxel behind one of its faces (in 2D:
  edges). Excluded voxels and voxels outside the image are not background: where an object is cut
  off there, its surface is unknown.
- Distances are between centres of surface voxels, in um where the voxel size is known, else in
  voxels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cytoloop.evaluation.counts.distances import nearest_distances

COUNTS = ("surface_true", "surface_predicted", "surface_near")


def count_surfaces(
    truth: np.ndarray,
    prediction: np.ndarray,
    valid: np.ndarray | None,
    spacing: Sequence[float],
    tolerance: float,
) -> dict[str, float]:
    """Return the counts behind surface Dice, and the distance behind Hausdorff 95.

    Parameters
    ----------
    truth, prediction : ndarray
        ([Z,] Y, X), same shape; above 0 is foreground.
    valid : ndarray of bool, optional
        Same shape; False = excluded.
    spacing : sequence of float
        ([Z,] Y, X) voxel size.
    tolerance : float
        In the unit of `spacing`.

    Returns
    -------
    dict of str to float
        `COUNTS`: true and predicted surface voxels, and the surface voxels of both sides that lie
        within the tolerance of the other surface. And ``surface_distance_95``: the larger of the
        two 95th percentiles of the distances from one surface to the other, in the unit of
        `spacing`. Without surfaces it is 0 where both masks are equal, else NaN. It is NaN where
        only one side has a surface.
    """
    surfaces = [_surface(side > 0, valid) for side in (truth, prediction)]
    sizes = [int(np.count_nonzero(surface)) for surface in surfaces]
    near, distance_95 = 0, math.nan
    within = tolerance * (1 + 1e-6)  # rounding must not push a distance beyond the tolerance
    if all(sizes):
        box = _bounding_box(surfaces[0] | surfaces[1])
        true, predicted = (surface[box] for surface in surfaces)
        percentiles = []
        for start, end in ((true, predicted), (predicted, true)):
            distances = nearest_distances(start, end, spacing, within)
            near += int(np.count_nonzero(distances <= within))
            percentiles.append(float(np.percentile(distances, 95)))
        distance_95 = max(percentiles)
    elif not any(sizes):
        counted = np.ones(truth.shape, bool) if valid is None else valid
        if np.array_equal((truth > 0) & counted, (prediction > 0) & counted):
            distance_95 = 0.0
    counts = dict(zip(COUNTS, (*sizes, near), strict=True))
    return {**counts, "surface_distance_95": distance_95}


def _surface(mask: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    """Return the foreground voxels that share a face with background, as bool."""
    background = ~mask if valid is None else ~mask & valid
    foreground = mask if valid is None else mask & valid
    surface = np.zeros(mask.shape, bool)
    for axis in range(mask.ndim):
        on, off, found = (np.moveaxis(a, axis, 0) for a in (foreground, background, surface))
        found[1:] |= on[1:] & off[:-1]
        found[:-1] |= on[:-1] & off[1:]
    return surface


def _bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    """Return the smallest box around the True voxels; voxels outside change no distance."""
    box = []
    for axis in range(mask.ndim):
        others = tuple(i for i in range(mask.ndim) if i != axis)
        places = np.flatnonzero(mask.any(axis=others))
        box.append(slice(int(places[0]), int(places[-1]) + 1))
    return tuple(box)
