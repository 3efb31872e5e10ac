"""Mask and height of a window: the landscape whose basins become objects.

The height at a voxel depends on its surroundings up to `halo_size` only, so that a window gives the
same numbers as the whole volume.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import edt
import numpy as np
from scipy import ndimage

from cytoloop.instances.settings import InstanceSettings

FARTHEST = 64.0
"""Distances beyond so many steps of the finest axis are cut: there is nothing to part so deep."""
DEEPEST = 8.0
"""What the deepest voxel of an object is worth where a network says the depth."""
_SCALE = 4096.0
"""Levels of height for a factor of e in distance: heights are compared exactly, as integers."""
_TRUNCATE = 4.0


def halo_size(
    rule: InstanceSettings, steps: Sequence[float], told: bool = False
) -> tuple[int, ...]:
    """Return how far a height looks, in voxels along each axis.

    Parameters
    ----------
    rule : InstanceSettings
    steps : sequence of float
    told : bool
        Whether a network says the depth: then it is not measured.
    """
    return tuple(
        (0 if told else math.ceil(FARTHEST / step))
        + _radius(rule.seed_smoothing, step)
        + _radius(rule.smoothing, step)
        + 1
        for step in steps
    )


def foreground_mask(
    probability: np.ndarray, rule: InstanceSettings, steps: Sequence[float]
) -> np.ndarray:
    """Return the mask of a window.

    Parameters
    ----------
    probability : ndarray
        ([Z,] Y, X), 0..255 (uint8) or 0..1 (floats).
    rule : InstanceSettings
    steps : sequence of float
        Of a voxel, see `cytoloop.instances.settings.relative_spacing`.

    Returns
    -------
    ndarray of bool
    """
    full = full_scale(probability.dtype)
    if rule.smoothing > 0:
        probability = ndimage.gaussian_filter(
            probability.astype(np.float32),
            [rule.smoothing / s for s in steps],
            truncate=_TRUNCATE,
        )
    return np.asarray(probability > rule.threshold * full)


def full_scale(dtype: np.dtype) -> float:
    """Return the value that stands for probability 1."""
    return 255.0 if np.dtype(dtype) == np.uint8 else 1.0


def log_distance_map(
    mask: np.ndarray,
    rule: InstanceSettings,
    steps: Sequence[float],
    depth: np.ndarray | None = None,
    contour: np.ndarray | None = None,
) -> np.ndarray:
    """Return the logarithm of the smoothed depth inside objects.

    On the logarithm a fall by a fixed number is a fall by a fixed share of the peak.

    Parameters
    ----------
    mask : ndarray of bool
        ([Z,] Y, X).
    rule : InstanceSettings
    steps : sequence of float
    depth : ndarray, optional
        Same shape, 0..255 (uint8) or 0..1 (floats): how deep inside its object a voxel lies, as a
        network says it. None: the distance to background, which knows nothing of objects.
    contour : ndarray, optional
        Same shape, 0..255 (uint8) or 0..1 (floats): how near to a contour a voxel lies, as a
        network says it. Its complement and the depth are averaged: two opinions on every border.

    Returns
    -------
    ndarray of int32
        4096 log(1 + d), where d is in steps, or goes to `DEEPEST`; 0 outside of the mask.
    """
    if depth is None:
        distance = edt.edt(np.ascontiguousarray(mask), anisotropy=tuple(steps), black_border=False)
        np.minimum(distance, FARTHEST, out=distance)  # infinite where there is no background
    else:
        distance = depth.astype(np.float32) * (DEEPEST / full_scale(depth.dtype))
        if contour is not None:
            near = contour.astype(np.float32) * (DEEPEST / full_scale(contour.dtype))
            distance = (distance + DEEPEST - near) / 2
    if rule.seed_smoothing > 0:
        sigma = [rule.seed_smoothing / s for s in steps]
        distance = ndimage.gaussian_filter(distance, sigma, truncate=_TRUNCATE)
    heights = np.zeros(mask.shape, np.int32)
    heights[mask] = np.rint(np.log1p(distance[mask], dtype=np.float32) * _SCALE)
    return heights


def log_depth(min_depth: float) -> float:
    """Return the fall of height that a share of the distance makes."""
    return -math.log1p(-min_depth) * _SCALE


def _radius(sigma: float, step: float) -> int:
    return int(_TRUNCATE * sigma / step + 0.5)  # SciPy's
