"""From probability to objects: threshold, distance map, watershed."""

from __future__ import annotations

from collections.abc import Sequence

import cc3d
import edt
import fastremap
import numpy as np
from scipy import ndimage
from skimage.morphology import h_maxima
from skimage.segmentation import watershed

_SMALLEST = {2: 10, 3: 30}  # pixels, voxels: below this it is noise, whatever the voxel size


def label_instances(
    mask: np.ndarray,
    spacing_um: Sequence[float] | None = None,
    seed_smoothing: float = 1.0,
    min_depth: float = 0.2,
    min_voxels: float = 0.0,
) -> np.ndarray:
    """Part touching objects where they are thin: a watershed on the distance to background.

    Parameters
    ----------
    mask : ndarray of bool
        ([Z,] Y, X) foreground.
    spacing_um : sequence of float, optional
        (Z, Y, X) voxel size; distances respect it. None = isotropic.
    seed_smoothing : float
        Sigma of the Gaussian on the distance map, in steps of the finest axis.
    min_depth : float
        How far (as a share of the peak) the distance must fall between two seeds.
    min_voxels : float
        Smaller objects are dropped; what has fewer than 30 voxels (10 pixels) is noise and
        dropped in any case.

    Returns
    -------
    ndarray of unsigned integers
        Same shape, labels 1..N without gaps, smallest dtype that holds them.
    """
    if not mask.any():
        return np.zeros(mask.shape, np.uint8)
    spacing = np.array(spacing_um[-mask.ndim :] if spacing_um else [1.0] * mask.ndim, float)
    step = spacing / spacing.min()
    distance = edt.edt(np.ascontiguousarray(mask), anisotropy=tuple(step), black_border=False)
    if not np.isfinite(distance).all():  # no background at all: one object
        return np.ones(mask.shape, np.uint8)
    smooth = ndimage.gaussian_filter(distance, seed_smoothing / step)
    # on the logarithm, a fall of a fixed height is a fall by a fixed share of the peak
    depth = np.log1p(np.where(mask, smooth, 0)).astype(np.float32)
    seeds = cc3d.connected_components(
        h_maxima(depth, -np.log1p(-min_depth)).astype(np.uint8) * mask,
        connectivity=8 if mask.ndim == 2 else 26,
    )
    labels = watershed(-distance, seeds.astype(np.int32), mask=mask)
    smallest = max(_SMALLEST[mask.ndim], min_voxels)
    sizes = np.bincount(labels.ravel())
    labels[sizes[labels] < smallest] = 0
    labels, _ = fastremap.renumber(labels.astype(np.uint32), in_place=True)
    return np.asarray(fastremap.refit(labels))
