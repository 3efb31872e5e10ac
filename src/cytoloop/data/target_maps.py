"""Target maps of heads other than foreground and classes: distance map and contour map.

A map is computed from the whole image once and stored beside it. An object that is cut by a patch
therefore has the values of the whole object. A training step computes only maps of `WARPED_MARGIN`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import edt
import fastremap
import numpy as np
from scipy import ndimage
from skimage.segmentation import find_boundaries

SCALE = 255
"""Value of a stored map (uint8) that stands for 1."""
_CONTOUR_SIGMA = 1.0
"""Sigma of the Gaussian filter on contours, in pixels."""


def fill_excluded(
    labels: np.ndarray, valid: np.ndarray, spacing_um: Sequence[float] | None = None
) -> np.ndarray:
    """Return labels in which excluded voxels have the label of the nearest valid voxel.

    An object that is cut by an excluded region continues there. Labels inside the region have no
    influence on the maps outside.

    Parameters
    ----------
    labels : ndarray of unsigned integers
        ([Z,] Y, X).
    valid : ndarray of bool
        Same shape; False = excluded.
    spacing_um : sequence of float, optional
        Voxel size (Z, Y, X) in um for the distances; None for cubic voxels.

    Returns
    -------
    ndarray of unsigned integers
        Same shape. Without valid or without excluded voxels, the labels themselves.
    """
    labels = np.asarray(labels)
    if valid.all() or not valid.any():
        return labels
    nearest = ndimage.distance_transform_edt(
        ~np.asarray(valid),
        sampling=_voxel_sides(labels, spacing_um),
        return_distances=False,
        return_indices=True,
    )
    return np.asarray(labels[tuple(nearest)])


def distance_map(labels: np.ndarray, spacing_um: Sequence[float] | None = None) -> np.ndarray:
    """Return the distance to the border of the object, normalised by the object's maximum.

    The distance is Euclidean, to the nearest voxel that does not belong to the object; this may be
    a touching object (`edt`, Felzenszwalb and Huttenlocher 2012). The image border is not a border
    of objects.

    Parameters
    ----------
    labels : ndarray of unsigned integers
        ([Z,] Y, X).
    spacing_um : sequence of float, optional
        Voxel size (Z, Y, X) in um; None for cubic voxels.

    Returns
    -------
    ndarray of uint8
        Same shape, 0..255 for 0..1; 255 at the maximum of each object, 0 in background.
    """
    sides = _voxel_sides(labels, spacing_um)
    distance = edt.edt(np.ascontiguousarray(labels), anisotropy=sides, black_border=False)
    # the distance is infinite in an object that fills the image
    distance = np.where(np.isfinite(distance), distance, 1.0).astype(np.float32)
    numbered, _ = fastremap.renumber(labels, in_place=False)  # labels may be sparse and large
    for number, box in enumerate(ndimage.find_objects(numbered.astype(np.int32)), 1):
        inside = numbered[box] == number
        maximum = distance[box][inside].max()
        distance[box][inside] /= maximum
    return np.rint(distance * SCALE).astype(np.uint8)


def contour_map(labels: np.ndarray, spacing_um: Sequence[float] | None = None) -> np.ndarray:
    """Return the contours of all objects, one pixel wide, after a Gaussian filter of one pixel.

    This is the target of nci-hitif's second network (its ``edge * Gauss``), plane by plane.

    Parameters
    ----------
    labels : ndarray of unsigned integers
        ([Z,] Y, X).
    spacing_um
        Not used: a contour is one pixel wide at any voxel size.

    Returns
    -------
    ndarray of uint8
        Same shape, 0..255; 255 on a straight contour.
    """
    planes = labels.reshape(-1, *labels.shape[-2:])
    edges = np.stack([find_boundaries(plane, mode="inner") for plane in planes])
    blurred = ndimage.gaussian_filter(edges.astype(np.float32), (0, _CONTOUR_SIGMA, _CONTOUR_SIGMA))
    maximum = 1 / (np.sqrt(2 * np.pi) * _CONTOUR_SIGMA)  # on a straight contour
    return np.rint(np.clip(blurred / maximum, 0, 1) * SCALE).astype(np.uint8).reshape(labels.shape)


def _voxel_sides(labels: np.ndarray, spacing_um: Sequence[float] | None) -> tuple[float, ...]:
    """Return the voxel size along the axes of an image; 1 if unknown."""
    return tuple(float(s) for s in (spacing_um or (1.0,) * labels.ndim)[-labels.ndim :])


TARGET_MAPS: dict[str, Callable[[np.ndarray, Sequence[float] | None], np.ndarray]] = {
    "distance": distance_map,
    "contour": contour_map,
}
"""Functions that compute the map of a head. ``foreground`` and classes need no map."""

WARPED_MARGIN = {"contour": 5}
"""Maps with values that depend on distances in pixels, and the margin in pixels they depend on.

If a patch is scaled, rotated or deformed, such a map is computed from the warped labels."""
