from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cyto_dl.image.io.polygon_loader import PolygonLoaderd

from cytoloop.errors import ImageError
from cytoloop.truth.regions import read_polygons, read_region, write_polygons_npy, write_region

SHAPE = (5, 20, 30)
SQUARES = np.array([[[2, 2], [2, 9], [9, 9], [9, 2]], [[12, 20], [12, 26], [18, 26], [18, 20]]])
RAGGED = [SQUARES[0].astype(float), SQUARES[1][:3] + 0.25]


@pytest.mark.parametrize("polygons", [SQUARES, SQUARES.astype(float), RAGGED])
def test_polygons_give_the_same_mask_as_cytodl(tmp_path: Path, polygons: np.ndarray) -> None:
    path = tmp_path / "p.npy"
    write_polygons_npy(path, list(polygons))
    loader = PolygonLoaderd(keys=["exclude"], shape_reference_key="seg")
    theirs = loader({"exclude": str(path), "seg": np.zeros((1, *SHAPE))})["exclude"][0]
    np.testing.assert_array_equal(read_region(path, SHAPE), ~theirs)  # theirs: 1 = keep


def test_a_2d_mask_applies_to_all_planes_and_a_3d_mask_does_not(
    tmp_path: Path, tiff: Callable[[Path, np.ndarray], Path]
) -> None:
    plane = np.zeros(SHAPE[1:], np.uint8)
    plane[3:8, 4:9] = 255
    region = read_region(tiff(tmp_path / "plane.tif", plane), SHAPE)
    assert region.shape == SHAPE and (region == (plane > 0)).all()
    stack = np.zeros(SHAPE, np.uint8)
    stack[2] = plane
    np.testing.assert_array_equal(read_region(tiff(tmp_path / "s.tif", stack), SHAPE), stack > 0)


@pytest.mark.parametrize("shape", [SHAPE, SHAPE[1:]])
def test_a_written_region_is_read_back(tmp_path: Path, shape: tuple[int, ...]) -> None:
    mask = np.random.default_rng(0).random(shape) > 0.7
    write_region(tmp_path / "m.ome.tif", mask, (0.6, 0.3, 0.3))
    np.testing.assert_array_equal(read_region(tmp_path / "m.ome.tif", shape), mask)


def test_a_region_of_another_shape_is_refused(
    tmp_path: Path, tiff: Callable[[Path, np.ndarray], Path]
) -> None:
    path = tiff(tmp_path / "m.tif", np.ones((8, 8), np.uint8))
    with pytest.raises(ImageError, match=r"shape \(8, 8\) but the image is"):
        read_region(path, SHAPE)


def test_a_file_that_holds_no_outlines_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"is not a file of outlines\nExpected .npy, .json"):
        read_polygons(tmp_path / "m.tif")
    with pytest.raises(ImageError, match="none.npy: cannot be read"):
        read_region(tmp_path / "none.npy", SHAPE)


def test_a_file_too_large_for_outlines_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cytoloop.truth.regions.parse.MAX_BYTES", 100)
    np.save(tmp_path / "p.npy", SQUARES)
    with pytest.raises(ImageError, match="too large for outlines"):
        read_region(tmp_path / "p.npy", SHAPE)


@pytest.mark.parametrize("shape", [(8, 8), (3, 8, 8)])
def test_outlines_of_which_none_lies_in_the_image_are_refused(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    path = tmp_path / "r.json"
    path.write_text("[[[20, 20], [20, 30], [30, 30]], [[-9, -9], [-9, -5], [-5, -5]]]")
    with pytest.raises(ImageError, match="none of its 2 outlines covers a pixel of the image, 8 x"):
        read_region(path, shape)
    path.write_text("[[[20, 20], [20, 30], [30, 30]], [[1, 1], [1, 5], [5, 5]]]")
    assert read_region(path, shape).any()
    path.write_text("[]")
    assert not read_region(path, shape).any()
