"""Polygons from JSON: GeoJSON as exported by QuPath, and plain lists.

GeoJSON positions are (x, y), and whole numbers are pixel corners, as in QuPath: the rectangle from
(2, 3) to (6, 8) contains the pixels x = 2 to 5, y = 3 to 7. Positions in plain lists are (y, x),
and whole numbers are pixel centres, as in ``.npy``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.errors import ImageError
from cytoloop.truth.regions.parse import (
    CORNER_OFFSET,
    check_polygons,
    open_ring,
    parse_polygons,
    read_bytes,
)
from cytoloop.truth.regions.polygons import Polygon

_COLLECTIONS = {"FeatureCollection": "features", "GeometryCollection": "geometries"}
_EXPECTED = (
    "Expected GeoJSON of polygons (x, y), or a list of polygons, each a list of [y, x] positions."
)


def read_json(path: str | Path) -> list[Polygon]:
    """Read polygons from GeoJSON or from plain lists.

    GeoJSON may hold feature collections, features, geometry collections, polygons with holes and
    multi-polygons. ``plane.z`` in the properties or the geometry, from 0, becomes the plane.

    Raises
    ------
    ImageError
        The file is not JSON, has another structure, or holds geometries without an area; all of
        these are listed.
    """
    try:
        value = json.loads(read_bytes(path).decode("utf-8-sig"))
        features = isinstance(value, list) and any(isinstance(item, dict) for item in value)
        if isinstance(value, list) and not features:
            return parse_polygons(path, value)
        times: set[int] = set()
        parts = list(_parts(value, None, "the file", times))
    except ImageError:
        raise
    except (ValueError, RecursionError) as error:
        raise ImageError(str(path), f"is not JSON: {str(error)[:120]}", _EXPECTED) from error
    problems = [part for part in parts if isinstance(part, str)]
    if len(times) > 1:
        problems.append(f"outlines of {len(times)} time points; save one file for each")
    if problems:
        raise ImageError(str(path), problems, _EXPECTED)
    return check_polygons(path, (part for part in parts if isinstance(part, Polygon)))


def _parts(value: Any, z: int | None, where: str, times: set[int]) -> Iterator[Polygon | str]:
    """Yield the polygons of a GeoJSON object, and a problem for each part that is not one."""
    if isinstance(value, list):  # QuPath also writes bare lists of features
        value = {"type": "FeatureCollection", "features": value}
    if not isinstance(value, dict):
        yield f"{where} is {type(value).__name__}, not a GeoJSON object"
        return
    kind = str(value.get("type"))[:40]
    try:
        z = _plane(value, z, times)
        if kind == "Feature":
            z = _plane(value.get("properties"), z, times)
            yield from _parts(value["geometry"], z, where, times)
        elif kind in _COLLECTIONS:
            member = _COLLECTIONS[kind]
            for number, item in enumerate(_items(value, member), start=1):
                yield from _parts(item, z, f"{member} {number}", times)
        elif kind in ("Polygon", "MultiPolygon"):
            coordinates = _items(value, "coordinates")
            for rings in [coordinates] if kind == "Polygon" else coordinates:
                exterior, *holes = map(_ring, rings)
                yield Polygon(exterior, tuple(holes), z)
        else:
            yield f"{where} is {kind!r}, which has no area"
    except KeyError as error:
        yield f"{where} ({kind}) has no {error}"
    except (TypeError, ValueError, OverflowError):
        yield f"{where} ({kind}) is malformed"


def _plane(holder: Any, z: int | None, times: set[int]) -> int | None:
    """Return the plane that a feature or geometry states, else `z`; add its time to `times`."""
    plane = holder.get("plane") if isinstance(holder, dict) else None
    if not isinstance(plane, dict):
        return z
    times.add(int(plane.get("t", 0)))
    return int(plane["z"]) if "z" in plane else z


def _items(value: dict[str, Any], name: str) -> list[Any]:
    """Return a member that must be a list."""
    if not isinstance(value[name], list):
        raise TypeError(name)
    return value[name]


def _ring(positions: list[Any]) -> np.ndarray:
    """Return (vertices, 2) of (y, x), not closed."""
    ring = np.array([(float(y), float(x)) for x, y, *_ in positions]).reshape(-1, 2)
    return open_ring(ring - CORNER_OFFSET)
