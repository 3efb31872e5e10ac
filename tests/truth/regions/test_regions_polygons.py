from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.draw import polygon2mask

from cytoloop.truth.regions import (
    Polygon,
    mask_to_polygons,
    polygons_to_mask,
    polygons_without_holes,
)
from cytoloop.truth.regions.fill import fill_outline

MASKS = hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


@pytest.mark.parametrize(
    "parts", [1, 2, 6]
)  # sixths: crossings that are not exact in floating point
@given(points=st.lists(st.tuples(st.integers(-30, 80), st.integers(-30, 80)), min_size=1))
@settings(max_examples=60, deadline=None)
def test_outlines_are_filled_as_scikit_image_does(
    parts: int, points: list[tuple[int, int]]
) -> None:
    outline = np.array(points) / parts
    np.testing.assert_array_equal(fill_outline(outline, (11, 14)), polygon2mask((11, 14), outline))


def test_outlines_of_many_vertices_are_filled_in_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    angle = np.linspace(0, 20 * np.pi, 3000, endpoint=False)
    outline = 30 + np.stack([25 * np.sin(angle), 28 * np.cos(1.1 * angle)], axis=1)
    whole = fill_outline(outline, (60, 60))
    np.testing.assert_array_equal(whole, polygon2mask((60, 60), outline))
    monkeypatch.setattr("cytoloop.truth.regions.fill._BATCH", 50)
    np.testing.assert_array_equal(fill_outline(outline, (60, 60)), whole)
    assert not fill_outline(np.zeros((0, 2)), (3, 4)).any()


@given(MASKS)
@settings(max_examples=100, deadline=None)
def test_mask_to_polygons_and_back_gives_the_same_mask(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(polygons_to_mask(mask_to_polygons(mask), mask.shape), mask)


@given(MASKS)
@settings(max_examples=100, deadline=None)
def test_the_union_of_polygons_without_holes_is_the_mask(mask: np.ndarray) -> None:
    union = np.zeros(mask.shape, bool)
    for outline in polygons_without_holes(mask):
        union |= polygon2mask(mask.shape, outline)
    np.testing.assert_array_equal(union, mask)


def test_a_component_with_a_hole_is_split_into_few_rectangles() -> None:
    ring = np.ones((20, 30), bool)
    ring[5:10, 7:9] = False
    assert len(polygons_without_holes(ring)) == 4
    assert polygons_without_holes(np.zeros((3, 4), bool)) == []


def test_planes_of_polygons() -> None:
    square = np.array([[1.0, 1], [1, 3], [3, 3], [3, 1]])
    polygons = [Polygon(square, z=1), Polygon(square + 4), Polygon(square, z=7)]
    mask = polygons_to_mask(polygons, (3, 9, 9))
    assert mask[:, 6, 6].all() and mask[:, 2, 2].tolist() == [False, True, False]
