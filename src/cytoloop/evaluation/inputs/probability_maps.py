"""Probability maps of predictions: how they are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cytoloop.errors import ImageError
from cytoloop.io.read import read_plane_or_stack
from cytoloop.manifest import Part, Row, part_of


def read_probability(path: str | Path, part: Part | None = None) -> tuple[np.ndarray, float]:
    """Read a probability map.

    Parameters
    ----------
    path : str or Path
    part : Part, optional
        Scene, time point and plane of a file that has several.

    Returns
    -------
    data : ndarray
        ([Z,] Y, X), in the file's dtype.
    maximum : float
        Value that stands for a probability of 1.

    Raises
    ------
    ImageError
        Unreadable, or not uint8, uint16 or fractions from 0 to 1.
    """
    part = part or Part()
    data = read_plane_or_stack(path, None, part.scene, part.time, part.axes, part.plane)
    if data.dtype in (np.uint8, np.uint16):
        return data, float(np.iinfo(data.dtype).max)
    if data.dtype.kind == "f" and data.size and data.min() >= 0 and data.max() <= 1:
        return data, 1.0
    raise ImageError(
        str(path),
        f"is not a probability map ({data.dtype} from {data.min():g} to {data.max():g})",
        "Expected fractions from 0 to 1, or uint8 or uint16 over their whole range.",
    )


def read_map(row: Row, column: str) -> np.ndarray:
    """Return the map in a column of a row, ([Z,] Y, X)."""
    path = row.file(column) or ""
    part = part_of(row, column, path)
    return read_plane_or_stack(path, None, part.scene, part.time, part.axes, part.plane)


def read_probability_uint8(path: str | Path, part: Part | None = None) -> np.ndarray:
    """Read a probability map as uint8, ([Z,] Y, X), 0..255 for probability 0..1.

    Raises
    ------
    ImageError
        See `read_probability`.
    """
    data, maximum = read_probability(path, part)
    return data if data.dtype == np.uint8 else np.round(data / maximum * 255).astype(np.uint8)
