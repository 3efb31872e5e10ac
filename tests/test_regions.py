from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cyto_dl.image.io.polygon_loader import PolygonLoaderd

from cytoloop.errors import ImageError
from cytoloop.regions import merge_segmentations, read_region

SHAPE = (5, 20, 30)
SQUARES = np.array([[[2, 2], [2, 9], [9, 9], [9, 2]], [[12, 20], [12, 26], [18, 26], [18, 20]]])


def test_polygons_are_what_cytodl_makes_of_them(tmp_path: Path) -> None:
    path = tmp_path / "p.npy"
    np.save(path, SQUARES.astype(float))
    loader = PolygonLoaderd(keys=["exclude"], shape_reference_key="seg")
    theirs = loader({"exclude": str(path), "seg": np.zeros((1, *SHAPE))})["exclude"][0]
    np.testing.assert_array_equal(read_region(path, SHAPE), ~theirs)  # theirs: 1 = keep


def test_one_polygon_three_columns_and_none_at_all(tmp_path: Path) -> None:
    path = tmp_path / "p.npy"
    np.save(path, SQUARES[0])
    flat = read_region(path, SHAPE[1:])
    assert flat.shape == SHAPE[1:] and 30 < flat.sum() < 80
    np.save(path, np.concatenate([np.full((1, 4, 1), 3), SQUARES[:1]], axis=2))  # z, y, x
    np.testing.assert_array_equal(read_region(path, SHAPE[1:]), flat)
    np.save(path, np.zeros((0, 4, 2)))
    assert not read_region(path, SHAPE).any()


def test_a_plane_goes_through_all_z_and_a_stack_does_not(
    tmp_path: Path, tiff: Callable[[Path, np.ndarray], Path]
) -> None:
    plane = np.zeros(SHAPE[1:], np.uint8)
    plane[3:8, 4:9] = 255
    region = read_region(tiff(tmp_path / "plane.tif", plane), SHAPE)
    assert region.shape == SHAPE and (region == (plane > 0)).all()
    stack = np.zeros(SHAPE, np.uint8)
    stack[2] = plane
    np.testing.assert_array_equal(read_region(tiff(tmp_path / "s.tif", stack), SHAPE), stack > 0)


def test_a_region_of_another_shape_is_refused(
    tmp_path: Path, tiff: Callable[[Path, np.ndarray], Path]
) -> None:
    path = tiff(tmp_path / "m.tif", np.ones((8, 8), np.uint8))
    with pytest.raises(ImageError, match=r"shape \(8, 8\) but the image is"):
        read_region(path, SHAPE)


def test_pickled_polygons_are_not_executed(tmp_path: Path) -> None:
    path = tmp_path / "p.npy"
    np.save(path, np.array([SQUARES[0], SQUARES[1][:3]], dtype=object), allow_pickle=True)
    with pytest.raises(ImageError, match="pickled objects are not read"):
        read_region(path, SHAPE)


def test_merging_overwrites_inside_and_never_mixes_ids() -> None:
    base = np.array([[1, 1, 0, 2]], np.uint8)
    other = np.array([[0, 1, 1, 1]], np.uint8)
    region = np.array([[False, True, True, False]])
    np.testing.assert_array_equal(merge_segmentations(base, other, region), [[1, 3, 3, 2]])
