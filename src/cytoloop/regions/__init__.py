"""Regions of an image: where nothing is learned or scored, and where seg2 replaces seg1.

A region file is one of
- a mask image in any readable format: every voxel above 0 belongs to the region;
- polygons as ``.npy``: an array (polygons, vertices, 2) of (y, x) pixel positions, the form in
  which the Segmenter ML plugin and CytoDL keep them.
A 2D region goes through all z.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cytoloop.errors import ImageError
from cytoloop.images.read import read_image


def read_region(path: str | Path, shape: tuple[int, ...]) -> np.ndarray:
    """Return the voxels of a region.

    Parameters
    ----------
    path : str or Path
        Mask image or ``.npy`` polygons.
    shape : tuple of int
        (Z, Y, X) or (Y, X) of the image that the region belongs to.

    Returns
    -------
    ndarray of bool
        True inside the region; of the given shape.

    Raises
    ------
    ImageError
        Unreadable file, or a mask of another shape.
    """
    if str(path).lower().endswith(".npy"):
        mask = _polygons_to_mask(path, shape[-2:])
    else:
        mask = read_image(path, channel=0).data[0] > 0
        if mask.shape not in (shape, shape[-2:]):
            raise ImageError(
                str(path),
                f"shape {mask.shape} but the image is {shape}",
                "Draw the region on this image: same shape, or its YX plane.",
            )
    return np.broadcast_to(mask, shape)


def merge_segmentations(base: np.ndarray, other: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Return `base` with `other` written over it inside `region`.

    Instance ids never collide: those of `other` are shifted past the largest of `base`. An
    object that the region's border cuts is clipped there.

    Parameters
    ----------
    base, other : ndarray of unsigned integers
        (Z, Y, X) or (Y, X), same shape.
    region : ndarray of bool
        Same shape.
    """
    base = base.astype(np.uint32)
    other = other.astype(np.uint32)
    shifted = np.where(other > 0, other + base.max(initial=0), 0).astype(np.uint32)
    return np.where(region, shifted, base)


def _polygons_to_mask(path: str | Path, shape: tuple[int, ...]) -> np.ndarray:
    """Rasterise (n, k, 2) polygons of (y, x) vertices as CytoDL does."""
    from skimage.draw import polygon2mask

    try:
        polygons = np.load(path, allow_pickle=False)
    except (ValueError, OSError) as error:
        raise ImageError(
            str(path),
            "holds no plain array of polygons (pickled objects are not read)",
            "Save the polygons with the same number of vertices each, or as a mask image.",
        ) from error
    polygons = np.atleast_2d(polygons)
    if polygons.ndim == 2 and polygons.size:
        polygons = polygons[None]
    mask = np.zeros(shape, bool)
    for polygon in polygons.reshape(-1, *polygons.shape[-2:]) if polygons.size else ():
        mask |= polygon2mask(shape, polygon[:, -2:])
    return mask
