from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cytoloop.errors import ImageError
from cytoloop.truth.regions import read_polygons, read_region

SHAPE = (3, 12, 14)


def ring(left: float, top: float, right: float, bottom: float) -> list[list[float]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]


def polygon(*rings: list, **members: Any) -> dict:
    return {"type": "Polygon", "coordinates": list(rings), **members}


def feature(geometry: Any, **properties: Any) -> dict:
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def region(folder: Path, value: Any, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    (folder / "r.geojson").write_text(json.dumps(value))
    return read_region(folder / "r.geojson", shape)


def box(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    mask = np.zeros(SHAPE[1:], bool)
    mask[top:bottom, left:right] = True
    return mask


BIG, HOLE, SMALL = ring(2, 3, 9, 10), ring(4, 5, 6, 8), ring(10, 1, 13, 2)
RING = box(2, 3, 9, 10) & ~box(4, 5, 6, 8)


@pytest.mark.parametrize(
    "value",
    [
        polygon(BIG, HOLE),
        feature(polygon(BIG, HOLE)),
        [feature(polygon(BIG, HOLE))],  # QuPath without a feature collection
        {"type": "FeatureCollection", "features": [feature(polygon(BIG, HOLE))]},
        {"type": "MultiPolygon", "coordinates": [[BIG, HOLE]]},
        feature({"type": "GeometryCollection", "geometries": [polygon(BIG, HOLE)]}),
        polygon([[*p, 0] for p in BIG], HOLE[:-1]),  # a third coordinate; a ring that is not closed
    ],
)
def test_geojson_positions_are_pixel_corners(tmp_path: Path, value: Any) -> None:
    np.testing.assert_array_equal(region(tmp_path, value)[1], RING)
    np.testing.assert_array_equal(region(tmp_path, value, SHAPE[1:]), RING)


def test_several_geometries_and_none(tmp_path: Path) -> None:
    both = {"type": "MultiPolygon", "coordinates": [[BIG, HOLE], [SMALL]]}
    np.testing.assert_array_equal(region(tmp_path, both)[0], RING | box(10, 1, 13, 2))
    assert not region(tmp_path, {"type": "FeatureCollection", "features": []}).any()


def test_planes_of_qupath_are_kept(tmp_path: Path) -> None:
    value = [
        feature(polygon(BIG, HOLE, plane={"c": -1, "z": 2, "t": 0})),
        feature(polygon(SMALL), plane={"z": 0}),
    ]
    mask = region(tmp_path, value)
    np.testing.assert_array_equal(mask[2], RING)
    np.testing.assert_array_equal(mask[0], box(10, 1, 13, 2))
    assert not mask[1].any()
    with pytest.raises(
        ImageError, match=r"outlines in plane 2 .from 0., but the image has 1 plane"
    ):
        region(tmp_path, value, SHAPE[1:])
    value[0]["geometry"]["plane"]["t"] = 4
    with pytest.raises(ImageError, match="outlines of 2 time points"):
        region(tmp_path, value)


def test_plain_lists_equal_a_npy_of_the_same_polygons(tmp_path: Path) -> None:
    polygons = [[[2, 2], [2, 9], [9, 9], [9, 2]], [[4.5, 1], [5, 6], [9, 2]]]
    for value in (polygons[:1], polygons[0]):
        np.save(tmp_path / "p.npy", np.array(value))
        expected = read_region(tmp_path / "p.npy", SHAPE)
        np.testing.assert_array_equal(region(tmp_path, value), expected)
    (tmp_path / "p.json").write_text(json.dumps(polygons), encoding="utf-8-sig")
    assert [len(p.exterior) for p in read_polygons(tmp_path / "p.json")] == [4, 3]
    assert not region(tmp_path, []).any()


@pytest.mark.parametrize(
    "value, reason",
    [
        ({"type": "Point", "coordinates": [1, 2]}, "the file is 'Point', which has no area"),
        ([feature(polygon(BIG)), feature({"type": "LineString"})], "features 2 is 'LineString'"),
        ([feature(None)], "features 1 is NoneType, not a GeoJSON object"),
        ([{"type": "Feature"}], r"features 1 \(Feature\) has no 'geometry'"),
        ({"regions": [1]}, "the file is 'None', which has no area"),
        (polygon(), "is malformed"),
        (polygon([[1], [2], [3]]), "is malformed"),
        (polygon([[10**400, 1]] * 4), "is malformed"),
        ({"type": "Polygon", "coordinates": 3}, "is malformed"),
        (polygon(BIG, plane={"z": "top"}), "is malformed"),
        (polygon([[1, 1], [2, 2]]), "polygon 1 has 2 vertices"),
        (polygon([[1, 1], [2, 2], [float("nan"), 1]]), "NaN or infinite"),
        ([[1, 2], "x"], "polygon 1 is list"),
        (7, "the file is int"),
    ],
)
def test_other_structures_are_listed(tmp_path: Path, value: Any, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        region(tmp_path, value)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\xff", '{"type": ' * 5000])
def test_a_file_that_is_not_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ImageError, match=r"r.json: is not JSON"):
        read_region(tmp_path / "r.json", SHAPE)


def test_deeply_nested_collections_are_refused(tmp_path: Path) -> None:
    head = '{"type":"GeometryCollection","geometries":['
    (tmp_path / "r.json").write_text(head * 5000 + "]}" * 5000)
    with pytest.raises(ImageError, match="is not JSON: maximum recursion"):
        read_region(tmp_path / "r.json", SHAPE)
