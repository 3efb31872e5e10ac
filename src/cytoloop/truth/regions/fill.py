"""Filling of outlines, row by row.

``skimage.draw.polygon2mask`` asks every pixel about every vertex: an outline of 4000 vertices
takes it ten seconds. Here each row is filled between its crossings, by the same rule.
"""

from __future__ import annotations

import numpy as np

_AT_ONCE = 1 << 22
"""Crossings worked on together: what bounds the memory."""


def fill_outline(outline: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the pixels whose centres lie inside an outline or on it.

    Parameters
    ----------
    outline : ndarray of float
        (vertices, 2), (y, x); closed by itself. Where it crosses itself, what it encloses an
        even number of times is outside.
    shape : tuple of int
        (Y, X).

    Returns
    -------
    ndarray of bool
        (Y, X); what ``skimage.draw.polygon2mask`` gives.
    """
    mask = np.zeros(shape, bool)
    outline = np.asarray(outline, np.float64)
    if not outline.size:
        return mask
    y = outline[:, 0]
    top, bottom = (int(n) for n in np.clip([np.floor(y.min()), np.floor(y.max()) + 1], 0, shape[0]))
    # Inside: an odd number of crossings up to here, or short of here; the two differ on the
    # outline itself. A row through a vertex counts the edges below it, or those above.
    for reached in (np.less_equal, np.less):
        mask[top:bottom] |= _odd(outline, reached, top, bottom, shape[1])
    near = np.round(outline)
    at_centre = (np.abs(outline - near) < 1e-12).all(axis=1)
    at_centre &= ((near >= 0) & (near < shape)).all(axis=1)
    mask[tuple(near[at_centre].astype(int).T)] = True  # a tip is crossed by no row
    return mask


def _odd(outline: np.ndarray, reached: np.ufunc, top: int, bottom: int, width: int) -> np.ndarray:
    """Return (rows, X): True where an odd number of crossings is `reached` from the left."""
    ends, starts = outline, np.roll(outline, 1, axis=0)
    begin, stop = np.sort(_first(reached, np.stack([starts[:, 0], ends[:, 0]])), axis=0)
    begin, stop = (np.clip(row, top, bottom).astype(np.int64) for row in (begin, stop))
    crossed = np.flatnonzero(stop > begin)
    total = np.cumsum((stop - begin)[crossed])
    toggles = np.zeros((bottom - top) * (width + 1), bool)
    for some in np.split(crossed, np.flatnonzero(np.diff(total // _AT_ONCE)) + 1):
        rows = (stop - begin)[some]
        edge = np.repeat(some, rows)
        row = np.arange(len(edge)) - np.repeat(np.cumsum(rows) - rows - begin[some], rows)
        (y0, x0), (y1, x1) = starts[edge].T, ends[edge].T
        y0, y1 = y0 - row, y1 - row
        near = np.round((x0 * y1 - x1 * y0) / (y1 - y0))
        beyond = ((x0 - near) * y1 - (x1 - near) * y0) / (y1 - y0)  # exact where it matters
        column = np.clip(near + ~reached(beyond, 0), 0, width).astype(np.int64)
        places, times = np.unique((row - top) * (width + 1) + column, return_counts=True)
        toggles[places] ^= times % 2 == 1
    return np.logical_xor.accumulate(toggles.reshape(-1, width + 1), axis=1)[:, :width]


def _first(reached: np.ufunc, position: np.ndarray) -> np.ndarray:
    """Return the first whole number from which a position is `reached` (<= or <)."""
    near = np.round(position)
    return near + ~reached(position, near)
