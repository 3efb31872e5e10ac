"""Filling of outlines by scan lines.

``skimage.draw.polygon2mask`` compares every pixel with every vertex and takes 10 s for an outline
of 4000 vertices. Here, each row is filled between its crossings. The result is the same.
"""

from __future__ import annotations

import numpy as np

_BATCH = 1 << 22
"""Crossings that are computed together; bounds the memory."""


def fill_outline(outline: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the pixels whose centres lie inside an outline or on it.

    Parameters
    ----------
    outline : ndarray of float
        (vertices, 2), (y, x); the last vertex is connected to the first. If the outline crosses
        itself, areas that it encloses an even number of times are outside (even-odd rule).
    shape : tuple of int
        (Y, X).

    Returns
    -------
    ndarray of bool
        (Y, X); equal to ``skimage.draw.polygon2mask``.
    """
    mask = np.zeros(shape, bool)
    outline = np.asarray(outline, np.float64)
    if not outline.size:
        return mask
    y = outline[:, 0]
    top, bottom = (int(n) for n in np.clip([np.floor(y.min()), np.floor(y.max()) + 1], 0, shape[0]))
    # A pixel is inside if an odd number of crossings lies to its left. Crossings at the pixel
    # itself count in the first pass and not in the second: together, they include the outline.
    # A row through a vertex counts the edges below it in one pass, those above in the other.
    for reached in (np.less_equal, np.less):
        mask[top:bottom] |= _odd_crossings(outline, reached, top, bottom, shape[1])
    near = np.round(outline)
    at_centre = (np.abs(outline - near) < 1e-12).all(axis=1)
    at_centre &= ((near >= 0) & (near < shape)).all(axis=1)
    mask[tuple(near[at_centre].astype(int).T)] = True  # no row crosses the outline at a tip
    return mask


def _odd_crossings(
    outline: np.ndarray, reached: np.ufunc, top: int, bottom: int, width: int
) -> np.ndarray:
    """Return (rows, X): True where the number of crossings to the left is odd.

    Whether a crossing at the pixel itself counts depends on `reached`, <= or <.
    """
    ends, starts = outline, np.roll(outline, 1, axis=0)
    begin, stop = np.sort(_first(reached, np.stack([starts[:, 0], ends[:, 0]])), axis=0)
    begin, stop = (np.clip(row, top, bottom).astype(np.int64) for row in (begin, stop))
    crossed = np.flatnonzero(stop > begin)
    total = np.cumsum((stop - begin)[crossed])
    toggles = np.zeros((bottom - top) * (width + 1), bool)
    for batch in np.split(crossed, np.flatnonzero(np.diff(total // _BATCH)) + 1):
        rows = (stop - begin)[batch]
        edge = np.repeat(batch, rows)
        row = np.arange(len(edge)) - np.repeat(np.cumsum(rows) - rows - begin[batch], rows)
        (y0, x0), (y1, x1) = starts[edge].T, ends[edge].T
        y0, y1 = y0 - row, y1 - row
        near = np.round((x0 * y1 - x1 * y0) / (y1 - y0))
        # the crossing relative to the nearest pixel; its sign has no rounding error
        beyond = ((x0 - near) * y1 - (x1 - near) * y0) / (y1 - y0)
        column = np.clip(near + ~reached(beyond, 0), 0, width).astype(np.int64)
        positions, counts = np.unique((row - top) * (width + 1) + column, return_counts=True)
        toggles[positions] ^= counts % 2 == 1
    return np.logical_xor.accumulate(toggles.reshape(-1, width + 1), axis=1)[:, :width]


def _first(reached: np.ufunc, position: np.ndarray) -> np.ndarray:
    """Return the first whole number n for which reached(position, n) holds (<= or <)."""
    near = np.round(position)
    return near + ~reached(position, near)
