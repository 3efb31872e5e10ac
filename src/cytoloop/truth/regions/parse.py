"""Parsing and checks of polygons from files of other programs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from cytoloop.errors import ImageError
from cytoloop.io.file_kind import special_kind
from cytoloop.truth.regions.polygons import Polygon

MAX_BYTES = 1 << 26
"""Maximum size of a file of outlines, and of an unpacked archive of them."""
CORNER_OFFSET = 0.5
"""Subtract from positions that count from pixel corners to get positions from pixel centres."""
_MAX_VERTICES = 2_000_000
"""More vertices take minutes to fill; nobody draws as many."""
_MAX_POSITION = 1e6
"""In pixels. A larger position is in another unit."""
_AS_MASK = "Give the region as a mask image."
_EXPECTED = "Expected polygons, each a list of (y, x) or (z, y, x) positions in pixels."


def read_bytes(path: str | Path) -> bytes:
    """Return the content of a file of outlines.

    Raises
    ------
    ImageError
        The file does not exist, is a pipe or a device, cannot be read, or is larger than
        `MAX_BYTES`.
    """
    if kind := special_kind(path):
        raise ImageError(str(path), f"is {kind}, expected a file", "Save the outlines as a file.")
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ImageError(str(path), f"cannot be read: {error}", "Check the path.") from error
    if len(content) > MAX_BYTES:
        raise ImageError(
            str(path),
            f"is larger than {MAX_BYTES >> 20} MB: too large for outlines",
            _AS_MASK,
        )
    return content


def open_ring(positions: np.ndarray) -> np.ndarray:
    """Return a ring (vertices, 2) without a last vertex that repeats the first."""
    closed = len(positions) > 1 and (positions[0] == positions[-1]).all()
    return positions[:-1] if closed else positions


def check_polygons(path: str | Path, polygons: Iterable[Polygon]) -> list[Polygon]:
    """Return the polygons after checking that each can be filled.

    Raises
    ------
    ImageError
        A polygon has fewer than three vertices, vertices that are NaN or infinite or far outside
        any image, or there are too many vertices; every such polygon is listed.
    """
    polygons = list(polygons)
    rings = [(n, ring) for n, p in enumerate(polygons, 1) for ring in (p.exterior, *p.holes)]
    problems = []
    if sum(len(ring) for _, ring in rings) > _MAX_VERTICES:
        problems.append(f"more than {_MAX_VERTICES} vertices; give the region as a mask image")
    for number, ring in rings:
        if len(ring) < 3:
            problems.append(f"polygon {number} has {len(ring)} vertices, expected 3 or more")
        elif not np.isfinite(ring).all():
            problems.append(f"polygon {number} has vertices that are NaN or infinite")
        elif np.abs(ring).max() > _MAX_POSITION:
            problems.append(f"polygon {number} lies more than {_MAX_POSITION:.0f} pixels away")
    if problems:
        raise ImageError(str(path), problems, "Draw these polygons again, in pixels.")
    return polygons


def parse_polygons(path: str | Path, value: object) -> list[Polygon]:
    """Return the polygons in an array or in nested lists of numbers.

    Parameters
    ----------
    path : str or Path
        Source of the value, for the error.
    value : object
        Polygons (n, k, 2), one polygon (k, 2), no polygon (0,), or a list or object array of
        polygons of different lengths. Vertices are (y, x) or (z, y, x). z is ignored: the programs
        that write it mean all planes.

    Raises
    ------
    ImageError
        The value has another structure, or its polygons cannot be filled.
    """
    if isinstance(value, np.ndarray):
        if value.size > 3 * _MAX_VERTICES:
            raise ImageError(str(path), f"holds {_describe(value)}: too many vertices", _AS_MASK)
        value = value.item() if value.ndim == 0 else list(value) if value.size else []
    if not isinstance(value, (list, tuple)):
        raise ImageError(str(path), f"holds {_describe(value)}, not polygons", _EXPECTED)
    items = [value] if value and all(map(_is_vertex, value)) else value
    polygons: list[Polygon] = []
    problems, left = [], _MAX_VERTICES
    for number, item in enumerate(items, start=1):
        outline = _outline(item, left)
        if outline is None:
            problems.append(f"polygon {number} is {_describe(item)}, not a list of positions")
        else:
            left -= len(outline)
            polygons.append(Polygon(outline))
    if problems:
        raise ImageError(str(path), problems, _EXPECTED)
    return check_polygons(path, polygons)


def _outline(item: object, max_vertices: int) -> np.ndarray | None:
    """Return the (vertices, 2) of one polygon; None if the item is not a polygon."""
    if isinstance(item, np.ndarray) and item.dtype != object:
        fits = item.dtype.kind in "iuf" and item.ndim == 2 and item.shape[1] in (2, 3)
        return item[:, -2:].astype(np.float64) if fits else None
    vertices = item.tolist() if isinstance(item, np.ndarray) else item
    # unpickled lists may share their parts: a few bytes can expand to any number of vertices
    if not isinstance(vertices, (list, tuple)) or len(vertices) > max_vertices:
        return None
    if not all(map(_is_vertex, vertices)):
        return None
    return np.array([(v[-2], v[-1]) for v in vertices], np.float64).reshape(-1, 2)


def _is_vertex(value: object) -> bool:
    """Return whether a value is (y, x) or (z, y, x)."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    return isinstance(value, (list, tuple)) and len(value) in (2, 3) and all(map(_is_number, value))


def _is_number(value: object) -> bool:
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) < 1 << 62
    return isinstance(value, (float, np.integer, np.floating))


def _describe(value: object) -> str:
    """Return the type or shape of a value, without its content, which may be of any length."""
    return f"an array {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
