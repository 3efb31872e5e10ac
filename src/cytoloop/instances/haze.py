"""Cut haze off objects: voxels darker than a part of the brightness around the image's objects."""

from __future__ import annotations

import numpy as np

from cytoloop.instances.blocks import Box, Volume
from cytoloop.instances.distance_map import full_scale

LEAST_PART = 0.3
"""Part of an object that must be bright; of others nothing is left."""


def is_bright(brightness: Volume, haze: float, box: Box) -> np.ndarray:
    """Return the voxels of a box that are no haze, bool.

    Parameters
    ----------
    brightness : Volume
        ([Z,] Y, X): 0..255 (uint8) or 0..1 (float).
    haze : float
        Least brightness, 0 to 1.
    box : tuple of slice
    """
    return np.asarray(brightness[box]) >= haze * full_scale(brightness.dtype)


def cut_haze(labels: np.ndarray, brightness: np.ndarray, haze: float) -> np.ndarray:
    """Return labels without haze, and without objects of which less than 30 % are left.

    Parameters
    ----------
    labels : ndarray of integers
        ([Z,] Y, X), 0 = background.
    brightness, haze
        See `is_bright`.
    """
    if haze == 0:
        return labels
    whole = tuple(slice(0, n) for n in labels.shape)
    cut = np.where(is_bright(brightness, haze, whole), labels, 0)
    size = int(labels.max(initial=0)) + 1
    before, after = (np.bincount(one.ravel(), minlength=size) for one in (labels, cut))
    kept = after >= LEAST_PART * before
    return np.where(kept[cut], cut, 0)
