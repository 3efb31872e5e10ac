"""Reading of region files of every format as masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from cytoloop.errors import ImageError
from cytoloop.io.read import read_header, read_plane_or_stack
from cytoloop.manifest import Part
from cytoloop.truth.regions.geojson import read_json
from cytoloop.truth.regions.imagej import read_rois
from cytoloop.truth.regions.npy import read_npy
from cytoloop.truth.regions.polygons import Polygon, polygons_to_mask

_READERS = {
    ".npy": read_npy,
    ".json": read_json,
    ".geojson": read_json,
    ".roi": read_rois,
    ".zip": read_rois,
}
OUTLINE_SUFFIXES = tuple(_READERS)
"""Suffixes of files of outlines. Every other region file is a mask image."""


def is_outline(path: str | Path) -> bool:
    """Return whether a file holds outlines; every other region file is a mask image."""
    name = Path(path).name.lower()
    return name.endswith(OUTLINE_SUFFIXES) and not name.endswith(".zarr.zip")


def read_polygons(path: str | Path) -> list[Polygon]:
    """Read a file of outlines: ``.npy``, ``.json``, ``.geojson``, ``.roi`` or ``.zip``.

    Returns
    -------
    list of Polygon
        In pixel positions; whole numbers are pixel centres, whatever the file format.

    Raises
    ------
    ImageError
        Another suffix, a file that cannot be read, or outlines without an area.
    """
    reader = _READERS.get(Path(path).suffix.lower())
    if reader is None:
        raise ImageError(
            str(path), "is not a file of outlines", f"Expected {', '.join(OUTLINE_SUFFIXES)}."
        )
    return reader(path)


def read_region(path: str | Path, shape: tuple[int, ...], part: Part | None = None) -> np.ndarray:
    """Return the voxels of a region.

    Parameters
    ----------
    path : str or Path
        A file of outlines, or a mask image of any readable format. A 2D mask and an outline
        without a plane apply to all planes.
    shape : tuple of int
        (Z, Y, X) or (Y, X) of the image.
    part : Part, optional
        Scene, time point and plane of a mask image that has several; plane of outlines.

    Returns
    -------
    ndarray of bool
        True inside the region; of the given shape. It may be read-only.

    Raises
    ------
    ImageError
        A file that cannot be read, a mask of another shape, outlines in planes that the image does
        not have, or outlines of which none lies in the image.
    """
    if is_outline(path):
        polygons = read_polygons(path)
        if part is not None and part.plane is not None:
            polygons = [p for p in polygons if p.z in (None, part.plane)]
            return polygons_to_mask(polygons, shape)
        planes = shape[0] if len(shape) == 3 else 1
        outside = sorted({p.z for p in polygons if p.z is not None and not 0 <= p.z < planes})
        if outside:
            raise ImageError(
                str(path),
                f"has outlines in plane {', '.join(map(str, outside))} (from 0), but the image has "
                f"{planes} plane(s)",
                "Draw the region on this image, or without a plane.",
            )
        mask = polygons_to_mask(polygons, shape)
        if polygons and not mask.any():
            raise ImageError(
                str(path),
                f"none of its {len(polygons)} outlines covers a pixel of the image, "
                f"{shape[-2]} x {shape[-1]}",
                "Draw the region on this image, in pixels.",
            )
        return mask
    part = part or Part()
    if part.plane is not None and read_header(path, part.scene, part.axes).shape[2] == 1:
        part = replace(part, plane=None)  # a 2D mask applies to all planes
    mask = read_plane_or_stack(path, None, part.scene, part.time, part.axes, part.plane) > 0
    if mask.shape not in (shape, shape[-2:]):
        raise ImageError(
            str(path),
            f"shape {mask.shape} but the image is {shape}",
            "Draw the region on this image: it needs the same shape or the same YX plane.",
        )
    return np.broadcast_to(mask, shape)
