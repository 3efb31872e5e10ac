"""Polygons as JSON: GeoJSON as QuPath exports it, and plain lists.

GeoJSON positions are x, y, and whole numbers are the corners of pixels, as in QuPath: the
rectangle from (2, 3) to (6, 8) holds the pixels x 2 to 5, y 3 to 7. Plain lists are what a
``.npy`` holds: y, x, and whole numbers are the centres.
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
_FORM = (
    "Expected GeoJSON of polygons (x, y), or a list of polygons, each a list of [y, x] positions."
)


def read_json(path: str | Path) -> list[Polygon]:
    """Read polygons from GeoJSON or from plain lists.

    Feature collections, features, geometry collections, polygons with holes and multi-polygons
    are read; a plane (``plane.z`` in the properties or the geometry, from 0) is kept.

    Raises
    ------
    ImageError
        No JSON, another structure, or geometries that enclose nothing; all of them are named.
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
        raise ImageError(str(path), f"is no JSON: {str(error)[:120]}", _FORM) from error
    problems = [part for part in parts if isinstance(part, str)]
    if len(times) > 1:
        problems.append(f"holds outlines of {len(times)} time points: save one file for each")
    if problems:
        raise ImageError(str(path), problems, _FORM)
    return check_polygons(path, (part for part in parts if isinstance(part, Polygon)))


def _parts(value: Any, z: int | None, where: str, times: set[int]) -> Iterator[Polygon | str]:
    """Yield the polygons of a GeoJSON object, and a line for each part that is none."""
    if isinstance(value, list):  # QuPath writes bare lists of features too
        value = {"type": "FeatureCollection", "features": value}
    if not isinstance(value, dict):
        yield f"{where} is {type(value).__name__}, no GeoJSON object"
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
            yield f"{where} is {kind!r}, which encloses nothing"
    except KeyError as error:
        yield f"{where} ({kind}) has no {error}"
    except (TypeError, ValueError, OverflowError):
        yield f"{where} ({kind}) is malformed"


def _plane(holder: Any, z: int | None, times: set[int]) -> int | None:
    """Return the plane that a feature or geometry states, else that of what holds it."""
    plane = holder.get("plane") if isinstance(holder, dict) else None
    if not isinstance(plane, dict):
        return z
    times.add(int(plane.get("t", 0)))
    return int(plane["z"]) if "z" in plane else z


def _items(value: dict[str, Any], name: str) -> list[Any]:
    if not isinstance(value[name], list):
        raise TypeError(name)
    return value[name]


def _ring(positions: list[Any]) -> np.ndarray:
    """Return (vertices, 2) of (y, x), not closed."""
    ring = np.array([(float(y), float(x)) for x, y, *_ in positions]).reshape(-1, 2)
    return open_ring(ring - CORNER_OFFSET)
