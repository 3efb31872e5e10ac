"""Foreground mask and distance map of a block with its halo.

A value depends on its surroundings up to `halo_size` only. A block with that halo therefore gives
the same numbers as the whole volume.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import edt
import numpy as np
from scipy import ndimage

from cytoloop.instances.settings import InstanceSettings

MAX_DISTANCE = 64.0
"""Distances are clipped here, in units of the shortest voxel side. It bounds the halo."""
PREDICTED_MAXIMUM = 8.0
"""Distance that a predicted distance map of 1 stands for."""
_SCALE = 4096.0
"""Integer levels for a factor of e in distance: integers compare exactly across blocks."""
_TRUNCATE = 4.0
"""Radius of Gaussian filters in sigmas."""


def halo_size(
    settings: InstanceSettings, spacing: Sequence[float], predicted: bool = False
) -> tuple[int, ...]:
    """Return the halo that `foreground_mask` and `log_distance_map` need, in voxels per axis.

    Parameters
    ----------
    settings : InstanceSettings
    spacing : sequence of float
        Relative voxel size, see `cytoloop.instances.settings.relative_spacing`.
    predicted : bool
        The distance map is predicted by the network, not computed from the mask.
    """
    return tuple(
        (0 if predicted else math.ceil(MAX_DISTANCE / side))
        + _gaussian_radius(settings.seed_smoothing, side)
        + _gaussian_radius(settings.smoothing, side)
        + 1
        for side in spacing
    )


def foreground_mask(
    probability: np.ndarray, settings: InstanceSettings, spacing: Sequence[float]
) -> np.ndarray:
    """Return the voxels whose smoothed probability is above the threshold.

    Parameters
    ----------
    probability : ndarray
        ([Z,] Y, X), 0..255 (uint8) or 0..1 (float).
    settings : InstanceSettings
        Uses ``smoothing`` and ``threshold``.
    spacing : sequence of float
        Relative voxel size, see `cytoloop.instances.settings.relative_spacing`.

    Returns
    -------
    ndarray of bool
        Same shape.
    """
    full = full_scale(probability.dtype)
    if settings.smoothing > 0:
        probability = ndimage.gaussian_filter(
            probability.astype(np.float32),
            [settings.smoothing / s for s in spacing],
            truncate=_TRUNCATE,
        )
    return np.asarray(probability > settings.threshold * full)


def full_scale(dtype: np.dtype) -> float:
    """Return the value that stands for 1 in a map of this dtype: 255 for uint8, else 1."""
    return 255.0 if np.dtype(dtype) == np.uint8 else 1.0


def log_distance_map(
    mask: np.ndarray,
    settings: InstanceSettings,
    spacing: Sequence[float],
    distance: np.ndarray | None = None,
    contour: np.ndarray | None = None,
) -> np.ndarray:
    """Return the logarithm of the smoothed distance map, as integers.

    On a logarithmic map, a valley of a fixed relative depth has the same absolute depth everywhere.

    Parameters
    ----------
    mask : ndarray of bool
        ([Z,] Y, X).
    settings : InstanceSettings
        Uses ``seed_smoothing``.
    spacing : sequence of float
        Relative voxel size, see `cytoloop.instances.settings.relative_spacing`.
    distance : ndarray, optional
        Same shape, 0..255 (uint8) or 0..1 (float): predicted distance map. None: the Euclidean
        distance to the background of the mask (`edt`, Felzenszwalb and Huttenlocher 2012).
    contour : ndarray, optional
        Same shape and units: predicted contour map. Its complement is averaged with the predicted
        distance map.

    Returns
    -------
    ndarray of int32
        4096 log(1 + d), where d is the distance in units of the shortest voxel side, or the
        predicted distance times `PREDICTED_MAXIMUM`; 0 outside the mask.
    """
    if distance is None:
        values = edt.edt(np.ascontiguousarray(mask), anisotropy=tuple(spacing), black_border=False)
        np.minimum(values, MAX_DISTANCE, out=values)  # infinite if there is no background
    else:
        values = distance.astype(np.float32) * (PREDICTED_MAXIMUM / full_scale(distance.dtype))
        if contour is not None:
            near = contour.astype(np.float32) * (PREDICTED_MAXIMUM / full_scale(contour.dtype))
            values = (values + PREDICTED_MAXIMUM - near) / 2
    if settings.seed_smoothing > 0:
        sigma = [settings.seed_smoothing / s for s in spacing]
        values = ndimage.gaussian_filter(values, sigma, truncate=_TRUNCATE)
    levels = np.zeros(mask.shape, np.int32)
    levels[mask] = np.rint(np.log1p(values[mask], dtype=np.float32) * _SCALE)
    return levels


def log_depth(min_depth: float) -> float:
    """Return the depth on `log_distance_map` of a valley of relative depth `min_depth`."""
    return -math.log1p(-min_depth) * _SCALE


def _gaussian_radius(sigma: float, side: float) -> int:
    """Return the radius of `scipy.ndimage.gaussian_filter` in voxels."""
    return int(_TRUNCATE * sigma / side + 0.5)
