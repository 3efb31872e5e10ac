"""Surface scores of one image: how far predicted surfaces lie from the true ones.

The rules
- A surface voxel is a foreground voxel with a background voxel behind one of its faces (in 2D:
  edges). Neither what is excluded nor what lies outside the image is background: where an object
  is cut off there, nobody has seen a surface.
- Distances are between centres of surface voxels, in um where the voxel size is known, else in
  voxels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from cytoloop.evaluation.counts.distances import near_distances

COUNTS = ("surface_true", "surface_predicted", "surface_near")


def surface_scores(
    truth: np.ndarray,
    prediction: np.ndarray,
    valid: np.ndarray | None,
    spacing: Sequence[float],
    tolerance: float,
) -> dict[str, float]:
    """Return surface Dice and Hausdorff 95, and the counts from which surface Dice is pooled.

    Surface Dice (Nikolov et al. 2021) is the share of all surface voxels, of both sides, that lie
    no further than the tolerance from the surface of the other side. HD95 is the larger of the
    two 95th percentiles of the distances from one surface to the other. If neither side has a
    surface and both are foreground nowhere (or everywhere) it is 1 and 0. If one side alone has
    none, surface Dice is 0 and HD95 undefined: NaN.

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
        ``surface_dice``, ``hd95`` in the unit of `spacing`; ``surface_true`` and
        ``surface_predicted`` voxels, ``surface_near``: those of both within the tolerance.
    """
    surfaces = [_surface(side > 0, valid) for side in (truth, prediction)]
    sizes = [int(np.count_nonzero(surface)) for surface in surfaces]
    near, far = 0, math.nan
    within = tolerance * (1 + 1e-6)  # what lies at the tolerance must not fall beyond by rounding
    if all(sizes):
        box = _box(surfaces[0] | surfaces[1])
        true, predicted = (surface[box] for surface in surfaces)
        tails = []
        for start, end in ((true, predicted), (predicted, true)):
            distances = near_distances(start, end, spacing, within)
            near += int(np.count_nonzero(distances <= within))
            tails.append(float(np.percentile(distances, 95)))
        far = max(tails)
    elif not any(sizes):
        counted = np.ones(truth.shape, bool) if valid is None else valid
        if np.array_equal((truth > 0) & counted, (prediction > 0) & counted):
            far = 0.0
    counts = dict(zip(COUNTS, (*sizes, near), strict=True))
    dice = surface_dice(counts) if any(sizes) else float(far == 0)
    return {"surface_dice": dice, "hd95": far, **counts}


def surface_dice(counts: Mapping[str, float]) -> float:
    """Return surface Dice from counts, of one image or added up over many; 1 without surfaces."""
    true, predicted, near = (counts[name] for name in COUNTS)
    return near / (true + predicted) if true + predicted else 1.0


def _surface(mask: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    """Return the foreground voxels that touch background by a face, as bool."""
    background = ~mask if valid is None else ~mask & valid
    foreground = mask if valid is None else mask & valid
    surface = np.zeros(mask.shape, bool)
    for axis in range(mask.ndim):
        on, off, found = (np.moveaxis(a, axis, 0) for a in (foreground, background, surface))
        found[1:] |= on[1:] & off[:-1]
        found[:-1] |= on[:-1] & off[1:]
    return surface


def _box(mask: np.ndarray) -> tuple[slice, ...]:
    """Return the smallest box around what is True: the rest of the image changes no distance."""
    box = []
    for axis in range(mask.ndim):
        others = tuple(i for i in range(mask.ndim) if i != axis)
        places = np.flatnonzero(mask.any(axis=others))
        box.append(slice(int(places[0]), int(places[-1]) + 1))
    return tuple(box)
