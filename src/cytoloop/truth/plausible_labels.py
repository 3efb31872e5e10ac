"""Recognises images that are no labels: probability maps, photographs, blurred and JPEG masks."""

from __future__ import annotations

import cc3d
import fastremap
import numpy as np

_MIN_VALUES = 8
"""An image with fewer values above 0 can be blurred, but no probability map: a map has many."""

_MIN_VALUES_OF_STEPS = 32
_SPECK = 2
"""Voxels of the largest speck."""

_MIN_GREY = 100
"""A largest value from here up may be white; class numbers are smaller."""
_WHITE = ((250, 255), (65_000, 65_535))
"""Usual white, also where JPEG changed it."""
_MIN_VALUES_OF_RIMS = (3, 12)
"""Fewest values of a blurred mask whose white is usual, and of another: labels of a small field can
lie around a large object like a rim."""
_RIM = 3
"""Widest rim of a blurred object, in voxels."""


def why_not_labels(data: np.ndarray) -> str | None:
    """Return why an image looks like a probability map or a photograph; None for labels.

    Fractions are not labels. Whole numbers are refused for three patterns that objects never show:

    - *specks*: most values have no connected piece that is larger than 2 voxels and holds half of
      the value's voxels, and most pieces have 1 or 2 voxels. An object has one main piece, even
      with stray voxels around it. Objects of 1 or 2 voxels pass: each has its own number and place.
    - *steps*: at least 75 % of different neighbours above 0 differ by 1, as in a wide blurred
      blob. Objects in a row may be numbered so too, but they also border on background.
    - *rims*: the largest value is a usual white (255, 65535), or 100 or more and there are many
      values; 60 % of its neighbours have two or more values in between, which lie nowhere else. A
      mask that was resized or blurred has such rims.

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
    is_usual = any(low <= int(data.max()) <= high for low, high in _WHITE)
    if values >= _MIN_VALUES_OF_RIMS[not is_usual] and _has_rims(data):
        return f"holds {values} values, the smaller ones as rims of the largest: a blurred mask"
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


def _has_rims(data: np.ndarray) -> bool:
    """Return whether values between 0 and the largest one lie in thin rims around it, only."""
    from scipy.ndimage import binary_dilation

    white = data == data.max()
    if int(data.max()) < _MIN_GREY or np.count_nonzero(white) < np.count_nonzero(data) / 2:
        return False
    around = binary_dilation(white) & ~white
    if not around.any() or np.count_nonzero(data[around]) < 0.6 * np.count_nonzero(around):
        return False
    near = binary_dilation(white, iterations=_RIM)
    return not (data[~near] > 0).any()


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
    data = np.require(data, requirements=["C", "W"])  # cc3d takes no read-only memory
    pieces = cc3d.connected_components(data, connectivity=4 if data.ndim == 2 else 6)
    value_of = np.zeros(int(pieces.max()) + 1, data.dtype)
    value_of[pieces.ravel()] = data.ravel()
    sizes = np.bincount(pieces.ravel())
    _, owners = np.unique(value_of[1:], return_inverse=True)
    return sizes[1:], owners
