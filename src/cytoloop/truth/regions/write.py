"""Writing of regions: as mask images, and as outlines without holes for CytoDL."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cytoloop.io.voxel_size import Spacing
from cytoloop.io.writers.tiff import write_image
from cytoloop.truth.regions.polygons import mask_to_polygons, polygons_to_mask


def write_region(path: str | Path, mask: np.ndarray, spacing_um: Spacing | None = None) -> None:
    """Write a region as a mask image, 255 inside.

    Parameters
    ----------
    path : str or Path
        Should end in ``.ome.tif``.
    mask : ndarray of bool
        (Z, Y, X) or (Y, X).
    spacing_um : tuple of float, optional
        Voxel size (Z, Y, X) in um.
    """
    write_image(path, np.where(mask, np.uint8(255), np.uint8(0)), "ZYX"[-mask.ndim :], spacing_um)


def polygons_without_holes(mask: np.ndarray) -> list[np.ndarray]:
    """Return outlines without holes whose union is exactly the mask, as CytoDL needs them.

    Parameters
    ----------
    mask : ndarray of bool
        (Y, X).

    Returns
    -------
    list of ndarray
        (vertices, 2) of (y, x): one outline for each component without holes. A component with
        holes is split into rectangles.
    """
    polygons = mask_to_polygons(mask)
    outlines = [polygon.exterior for polygon in polygons if not polygon.holes]
    return outlines + _rectangles(polygons_to_mask((p for p in polygons if p.holes), mask.shape))


def _rectangles(mask: np.ndarray) -> list[np.ndarray]:
    """Return rectangles that cover a mask: runs of pixels, joined over rows if equal."""
    edges = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    (rows, starts), (_, stops) = np.nonzero(edges == 1), np.nonzero(edges == -1)
    order = np.lexsort((rows, stops, starts))
    runs = np.stack([rows, starts, stops], axis=1)[order]
    joined = (np.diff(runs, axis=0) == (1, 0, 0)).all(axis=1)
    groups = np.split(runs, np.flatnonzero(~joined) + 1) if len(runs) else []
    return [
        np.array([(top, left), (top, right), (bottom, right), (bottom, left)]) - 0.5
        for top, bottom, left, right in (
            (group[0, 0], group[-1, 0] + 1, group[0, 1], group[0, 2]) for group in groups
        )
    ]
