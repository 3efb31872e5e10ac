"""Polygons with holes, and their conversion to and from masks.

A pixel belongs to a polygon if its centre, at whole numbers, lies inside: the rule of
``skimage.draw.polygon2mask``, which CytoDL uses.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from cytoloop.truth.regions.fill import fill_outline


@dataclass(frozen=True, eq=False)
class Polygon:
    """A polygon in pixel positions.

    Attributes
    ----------
    exterior : ndarray of float
        (vertices, 2), (y, x); not closed (the first vertex is not repeated).
    holes : tuple of ndarray
        Same form; pixels in a hole do not belong to the polygon.
    z : int or None
        Plane, from 0; None for all planes.
    """

    exterior: np.ndarray
    holes: tuple[np.ndarray, ...] = ()
    z: int | None = None


def polygons_to_mask(polygons: Iterable[Polygon], shape: tuple[int, ...]) -> np.ndarray:
    """Return the pixels that belong to any of the polygons.

    Parameters
    ----------
    polygons : iterable of Polygon
    shape : tuple of int
        ([Z,] Y, X).

    Returns
    -------
    ndarray of bool
        Of that shape. A polygon without a plane applies to all planes. A polygon in a plane
        outside the shape is ignored.
    """
    mask = np.zeros(shape, bool)
    all_planes = np.zeros(shape[-2:], bool)
    for polygon in polygons:
        inside = fill_outline(polygon.exterior, shape[-2:])
        for hole in polygon.holes:
            inside &= ~fill_outline(hole, shape[-2:])
        if polygon.z is None or len(shape) == 2:
            all_planes |= inside
        elif 0 <= polygon.z < shape[0]:
            mask[polygon.z] |= inside
    mask |= all_planes
    return mask


def mask_to_polygons(mask: np.ndarray, z: int | None = None) -> list[Polygon]:
    """Return the outlines of a mask; `polygons_to_mask` reverses this exactly.

    Parameters
    ----------
    mask : ndarray of bool
        (Y, X).
    z : int, optional
        Plane of the polygons.

    Returns
    -------
    list of Polygon
        One for each 4-connected component, with vertices half-way between pixels.
    """
    from scipy import ndimage
    from skimage.measure import find_contours

    components, _ = ndimage.label(mask)
    polygons = []
    for number, box in enumerate(ndimage.find_objects(components), start=1):
        # a border of background closes the contours of components at the image border
        component = np.pad(components[box] == number, 1).astype(np.uint8)
        corner = np.array([box[0].start - 1, box[1].start - 1])
        contours = [_corners(c) + corner for c in find_contours(component, 0.5)]
        contours.sort(key=lambda c: -float(np.ptp(c, axis=0).prod()))
        polygons.append(Polygon(contours[0], tuple(contours[1:]), z))
    return polygons


def _corners(contour: np.ndarray) -> np.ndarray:
    """Return the corners of a closed contour, without vertices on straight lines."""
    ring = contour[:-1]
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    turn = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    return ring[np.abs(turn) > 1e-9]
