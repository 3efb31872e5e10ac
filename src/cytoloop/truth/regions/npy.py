"""Polygons in ``.npy`` files: the format of the Segmenter ML plugin and of CytoDL."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cytoloop.errors import ImageError
from cytoloop.io.atomic import replacing
from cytoloop.io.safe_pickle import load_npy
from cytoloop.truth.regions.parse import check_polygons, parse_polygons, read_bytes
from cytoloop.truth.regions.polygons import Polygon


def read_npy(path: str | Path) -> list[Polygon]:
    """Read polygons that ``np.save`` wrote.

    The file holds an array (n, k, 2) of polygons, an array (k, 2) of one polygon, or an object
    array of polygons of different lengths. NumPy pickles object arrays: the pickle is read without
    running code, and only numbers are accepted. Vertices are (y, x) in pixels; of (z, y, x), z is
    ignored.

    Raises
    ------
    ImageError
        The file holds no such array, or polygons that cannot be filled.
    """
    content = read_bytes(path)
    try:
        value = load_npy(content)
    except (ValueError, OSError, EOFError, SyntaxError, pickle.UnpicklingError) as error:
        raise ImageError(
            str(path),
            f"holds no readable polygons: {error}",
            "Expected what np.save makes of lists of (y, x) positions. Use files from people you "
            "trust only, or give the region as a mask image.",
        ) from error
    return parse_polygons(path, value)


def write_polygons_npy(path: str | Path, polygons: Sequence[np.ndarray]) -> None:
    """Write polygons as the Segmenter ML plugin does: an object array of (k, 2) arrays.

    Parameters
    ----------
    path : str or Path
        Should end in ``.npy``. CytoDL reads it as the union of the polygons.
    polygons : sequence of ndarray
        Each (vertices, 2), (y, x) in pixels. For those of a mask, see `polygons_without_holes`.

    Raises
    ------
    ImageError
        No polygon (CytoDL fails on an empty list), or a polygon without an area.
    """
    if not len(polygons):
        raise ImageError(
            str(path),
            "no polygon to write, and CytoDL cannot read an empty list",
            "Leave the cell of the manifest empty instead.",
        )
    outlines = np.empty(len(polygons), object)
    for number, outline in enumerate(polygons):  # assigning a slice would stack equal lengths
        outlines[number] = np.asarray(outline, np.float64)
    check_polygons(path, (Polygon(outline) for outline in outlines))
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, outlines, allow_pickle=True)
