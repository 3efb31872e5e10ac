"""Probability maps: how they are read, and how they are recognised among label images."""

from __future__ import annotations

from pathlib import Path

import cc3d
import fastremap
import numpy as np

from cytoloop.errors import ImageError
from cytoloop.io.read import read_plane_or_stack
from cytoloop.manifest import Part, Row, part_of

_MIN_VALUES = 8
"""An image with fewer values above 0 is always taken for labels: a map has many values."""

_MIN_VALUES_OF_STEPS = 32
_SPECK = 2
"""Voxels of the largest speck."""


def read_probability(path: str | Path, part: Part | None = None) -> tuple[np.ndarray, float]:
    """Read a probability map.

    Parameters
    ----------
    path : str or Path
    part : Part, optional
        Scene and time point of a file that has several.

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
    data = read_plane_or_stack(path, None, part.scene, part.time, part.axes)
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
    return read_plane_or_stack(path, None, part.scene, part.time, part.axes)


def read_probability_uint8(path: str | Path, part: Part | None = None) -> np.ndarray:
    """Read a probability map as uint8, ([Z,] Y, X), 0..255 for probability 0..1.

    Raises
    ------
    ImageError
        See `read_probability`.
    """
    data, maximum = read_probability(path, part)
    return data if data.dtype == np.uint8 else np.round(data / maximum * 255).astype(np.uint8)


def why_not_labels(data: np.ndarray) -> str | None:
    """Return why an image looks like a probability map or a photograph; None for labels.

    Fractions are not labels. Whole numbers are refused for two patterns that objects never show:

    - *specks*: most values have no connected piece that is larger than 2 voxels and holds half of
      the value's voxels, and most pieces have 1 or 2 voxels. An object has one main piece, even
      with stray voxels around it. Objects of 1 or 2 voxels pass: each has its own number and place.
    - *steps*: at least 75 % of different neighbours above 0 differ by 1, as in a wide blurred
      blob. Objects in a row may be numbered so too, but they also border on background.

    Parameters
    ----------
    data : ndarray
        ([Z,] Y, X).
    """
    if data.dtype.kind == "f":
        if not np.isfinite(data).all():
            return None  # `cytoloop.io.labels.as_labels` refuses NaN with its own message
        if (data != np.round(data)).any():
            return f"holds fractions from {data.min():.3g} to {data.max():.3g}"
        data = data.astype(np.int64)
    if data.dtype == bool:
        return None
    values = int(np.count_nonzero(fastremap.unique(data)))
    if values < _MIN_VALUES:
        return None
    touching, steps = _neighbour_fractions(data)
    if values >= _MIN_VALUES_OF_STEPS and touching >= 0.6 and steps >= 0.75:
        return f"holds {values} values that rise and fall by 1 from voxel to voxel"
    sizes, owners = _pieces(data)
    if np.median(sizes) > _SPECK or (touching < 0.2 and len(sizes) <= 2 * values):
        return None
    largest, total = np.zeros(values, np.int64), np.bincount(owners, sizes)
    np.maximum.at(largest, owners, sizes)
    if np.mean((largest > _SPECK) & (2 * largest >= total)) >= 0.5:
        return None
    return f"holds {values} values in {len(sizes)} pieces, half of them of 1 or 2 voxels"


def _neighbour_fractions(data: np.ndarray) -> tuple[float, float]:
    """Return two fractions: of different neighbours both above 0, and of these that differ by 1."""
    differ = touch = step = 0
    for axis in range(data.ndim):
        moved = np.moveaxis(data, axis, 0)
        low = np.minimum(moved[:-1], moved[1:])
        gap = np.maximum(moved[:-1], moved[1:]) - low
        differ += int(np.count_nonzero(gap))
        touch += int(np.count_nonzero((gap > 0) & (low > 0)))
        step += int(np.count_nonzero((gap == 1) & (low > 0)))
    return touch / max(differ, 1), step / max(touch, 1)


def _pieces(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the voxels of each connected piece of one value, and the position of its value."""
    pieces = cc3d.connected_components(data, connectivity=4 if data.ndim == 2 else 6)
    value_of = np.zeros(int(pieces.max()) + 1, data.dtype)
    value_of[pieces.ravel()] = data.ravel()
    sizes = np.bincount(pieces.ravel())
    _, owners = np.unique(value_of[1:], return_inverse=True)
    return sizes[1:], owners
