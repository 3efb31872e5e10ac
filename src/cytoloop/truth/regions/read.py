"""Region files of every kind, as the voxels that belong to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cytoloop.errors import ImageError
from cytoloop.io.read import read_image
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
"""File name endings of outlines; every other file of a region is a mask image."""


def read_polygons(path: str | Path) -> list[Polygon]:
    """Read a file of outlines: ``.npy``, ``.json``, ``.geojson``, ``.roi`` or ``.zip``.

    Returns
    -------
    list of Polygon
        In pixel positions, whole numbers at the pixels' centres whatever the file counts from.

    Raises
    ------
    ImageError
        Of another kind, unreadable, or outlines that enclose nothing.
    """
    reader = _READERS.get(Path(path).suffix.lower())
    if reader is None:
        raise ImageError(
            str(path), "is no file of outlines", f"Expected {', '.join(OUTLINE_SUFFIXES)}."
        )
    return reader(path)


def read_region(path: str | Path, shape: tuple[int, ...]) -> np.ndarray:
    """Return the voxels of a region.

    Parameters
    ----------
    path : str or Path
        A file of outlines, or a mask image of any readable format. A 2D mask and an outline
        that names no plane go through all z.
    shape : tuple of int
        (Z, Y, X) or (Y, X) of the image that the region belongs to.

    Returns
    -------
    ndarray of bool
        True inside the region; of the given shape. It may be read-only.

    Raises
    ------
    ImageError
        Unreadable file, a mask of another shape, or outlines in planes that the image lacks.
    """
    if Path(path).suffix.lower() in _READERS:
        polygons = read_polygons(path)
        planes = shape[0] if len(shape) == 3 else 1
        strange = sorted({p.z for p in polygons if p.z is not None and not 0 <= p.z < planes})
        if strange:
            raise ImageError(
                str(path),
                f"lies in plane {', '.join(map(str, strange))} (from 0), the image has {planes}",
                "Draw the region on this image, or on no plane in particular.",
            )
        return polygons_to_mask(polygons, shape)
    mask = read_image(path, channel=0).data[0] > 0
    if mask.shape not in (shape, shape[-2:]):
        raise ImageError(
            str(path),
            f"shape {mask.shape} but the image is {shape}",
            "Draw the region on this image: same shape, or its YX plane.",
        )
    return np.broadcast_to(mask, shape)
