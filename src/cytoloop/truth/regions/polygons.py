"""Polygons: outlines of regions and objects, and the pixels that they hold.

A pixel belongs to a polygon if its centre, at whole numbers, lies inside: the rule of
``skimage.draw.polygon2mask``, and so of CytoDL.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from cytoloop.truth.regions.fill import fill_outline


@dataclass(frozen=True, eq=False)
class Polygon:
    """An outline in pixel positions.

    Attributes
    ----------
    exterior : ndarray of float
        (vertices, 2), (y, x); not closed (the first vertex is not repeated).
    holes : tuple of ndarray
        The same form; their pixels do not belong to the polygon.
    z : int or None
        The plane it lies in, from 0; None for all planes.
    """

    exterior: np.ndarray
    holes: tuple[np.ndarray, ...] = ()
    z: int | None = None


def polygons_to_mask(polygons: Iterable[Polygon], shape: tuple[int, ...]) -> np.ndarray:
    """Return the pixels that any of the polygons holds.

    Parameters
    ----------
    polygons : iterable of Polygon
    shape : tuple of int
        ([Z,] Y, X).

    Returns
    -------
    ndarray of bool
        Of that shape. A polygon without a plane goes through all z; one in a plane that the
        shape does not have holds nothing.
    """
    mask = np.zeros(shape, bool)
    everywhere = np.zeros(shape[-2:], bool)
    for polygon in polygons:
        inside = fill_outline(polygon.exterior, shape[-2:])
        for hole in polygon.holes:
            inside &= ~fill_outline(hole, shape[-2:])
        if polygon.z is None or len(shape) == 2:
            everywhere |= inside
        elif 0 <= polygon.z < shape[0]:
            mask[polygon.z] |= inside
    mask |= everywhere
    return mask


def mask_to_polygons(mask: np.ndarray, z: int | None = None) -> list[Polygon]:
    """Return the outlines of a mask; `polygons_to_mask` of them gives the mask again, exactly.

    Parameters
    ----------
    mask : ndarray of bool
        (Y, X).
    z : int, optional
        Plane that the polygons are given.

    Returns
    -------
    list of Polygon
        One for each 4-connected piece. Their vertices lie half-way between pixels.
    """
    from scipy import ndimage
    from skimage.measure import find_contours

    pieces, _ = ndimage.label(mask)
    polygons = []
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        # one pixel of background around it closes the contours of pieces at the border
        piece = np.pad(pieces[box] == number, 1).astype(np.uint8)
        corner = np.array([box[0].start - 1, box[1].start - 1])
        contours = [_corners(c) + corner for c in find_contours(piece, 0.5)]
        contours.sort(key=lambda c: -float(np.ptp(c, axis=0).prod()))
        polygons.append(Polygon(contours[0], tuple(contours[1:]), z))
    return polygons


def _corners(contour: np.ndarray) -> np.ndarray:
    """Return a closed contour without its last vertex and those on straight lines."""
    ring = contour[:-1]
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    turn = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    return ring[np.abs(turn) > 1e-9]
