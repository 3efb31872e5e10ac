"""Maps of probability: read, and told from labels where nobody says which of the two a file is."""

from __future__ import annotations

from pathlib import Path

import cc3d
import fastremap
import numpy as np

from cytoloop.errors import ImageError
from cytoloop.io.read import read_image

_FEW = 8
"""Labels below which a picture is not doubted: a map has many values."""

_MANY = 32
_SPECK = 2


def read_map(path: str | Path) -> tuple[np.ndarray, float]:
    """Read a probability map.

    Returns
    -------
    data : ndarray
        ([Z,] Y, X), in the file's dtype.
    top : float
        Its value for a probability of 1.

    Raises
    ------
    ImageError
        Unreadable, or neither uint8, uint16 nor fractions from 0 to 1.
    """
    data = read_image(path, 0).data[0]
    if data.dtype in (np.uint8, np.uint16):
        return data, float(np.iinfo(data.dtype).max)
    if data.dtype.kind == "f" and data.size and data.min() >= 0 and data.max() <= 1:
        return data, 1.0
    raise ImageError(
        str(path),
        f"is no probability map ({data.dtype} from {data.min():g} to {data.max():g})",
        "Expected fractions from 0 to 1, or uint8 or uint16 over their whole range.",
    )


def describe_map(data: np.ndarray) -> str | None:
    """Return what makes an image look like a map (or a photograph), None if it may be labels.

    Fractions are no labels. Whole numbers are doubted for what objects never show:

    - *specks*: most values have no piece larger than two voxels that holds half of them, and
      most pieces are that small. Objects have one main piece, whatever was spilt around it; spots
      of a voxel or two are not specks, since each has a number and a place of its own.
    - *steps*: nearly all neighbours that differ do so by 1, as in a wide blurred blob. Objects in
      a row may be numbered so, but they border on background too.

    Parameters
    ----------
    data : ndarray
        ([Z,] Y, X).
    """
    if data.dtype.kind == "f":
        if not np.isfinite(data).all():
            return None  # that is a fault of its own, see `cytoloop.io.read_labels`
        if (data != np.round(data)).any():
            return f"holds fractions from {data.min():.3g} to {data.max():.3g}"
        data = data.astype(np.int64)
    if data.dtype == bool:
        return None
    values = int(np.count_nonzero(fastremap.unique(data)))
    if values < _FEW:
        return None
    touching, steps = _borders(data)
    if values >= _MANY and touching >= 0.6 and steps >= 0.75:
        return f"holds {values} values that rise and fall by 1 from voxel to voxel"
    sizes, owners = _pieces(data)
    if np.median(sizes) > _SPECK or (touching < 0.2 and len(sizes) <= 2 * values):
        return None
    largest, total = np.zeros(values, np.int64), np.bincount(owners, sizes)
    np.maximum.at(largest, owners, sizes)
    if np.mean((largest > _SPECK) & (2 * largest >= total)) >= 0.5:
        return None
    return f"holds {values} values in {len(sizes)} pieces, half of them of 1 or 2 voxels"


def _borders(data: np.ndarray) -> tuple[float, float]:
    """Return how many of the neighbours that differ are no background, and of these by 1."""
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
    """Return the voxels of each connected piece of one value, and the number of its value."""
    pieces = cc3d.connected_components(data, connectivity=4 if data.ndim == 2 else 6)
    value_of = np.zeros(int(pieces.max()) + 1, data.dtype)
    value_of[pieces.ravel()] = data.ravel()
    sizes = np.bincount(pieces.ravel())
    _, owners = np.unique(value_of[1:], return_inverse=True)
    return sizes[1:], owners
