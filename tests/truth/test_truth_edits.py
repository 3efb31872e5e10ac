"""Edits of labels: each changes what it says, leaves other objects alone, and can be undone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from cytoloop.errors import ConfigError
from cytoloop.truth.edits import (
    Edit,
    add_ball,
    add_predicted,
    cut_object,
    delete_objects,
    fill_object,
    interpolate_masks,
    interpolate_object,
    merge_objects,
    smooth_object,
    split_object,
)


@pytest.fixture
def labels() -> np.ndarray:
    """(9, 30, 40): object 1 is two touching balls, object 5 a box with a hole."""
    z, y, x = np.indices((9, 30, 40))
    found = np.zeros((9, 30, 40), np.uint32)
    for centre in (8, 17):
        found[((z - 4) ** 2 * 2 + (y - 10) ** 2 + (x - centre) ** 2) < 30] = 1
    found[2:7, 18:26, 26:36] = 5
    found[3, 21:23, 29:31] = 0
    return found


def test_split_by_two_points_parts_the_object_in_the_valley(labels: np.ndarray) -> None:
    before = labels.copy()
    edit = split_object(labels, [(4, 10, 8), (4, 10, 17)])
    edit.apply(labels)
    assert set(np.unique(labels)) == {0, 1, 5, 6}
    left, right = np.nonzero(labels == 1)[2], np.nonzero(labels == 6)[2]
    assert left.max() <= 13 and right.min() >= 12
    assert abs(len(left) - len(right)) <= 0.1 * len(left)
    assert np.array_equal(labels > 0, before > 0)
    edit.revert(labels)
    assert np.array_equal(labels, before)


def test_split_follows_the_depth_map_of_a_model(labels: np.ndarray) -> None:
    depth = np.ones(labels.shape, np.float32)
    depth[:, :, 10] = 0  # the model's valley is not in the middle
    split_object(labels, [(4, 10, 6), (4, 10, 17)], depth=depth).apply(labels)
    assert np.nonzero(labels == 1)[2].max() in (9, 10)


def test_split_along_a_line_cuts_through_all_planes(labels: np.ndarray) -> None:
    before = labels.copy()
    cut_object(labels, [(4, 2, 15), (4, 28, 15)]).apply(labels)
    assert set(np.unique(labels)) == {0, 1, 5, 6}
    parts = [np.nonzero(labels == number)[2] for number in (1, 6)]
    (low, high) = sorted(parts, key=lambda x: x.min())
    assert low.max() <= 15 <= high.min() + 1
    assert np.array_equal(labels > 0, before > 0)


def test_merge_and_delete(labels: np.ndarray) -> None:
    merged = labels.copy()
    merge_objects(merged, [5, 1]).apply(merged)
    assert np.array_equal(merged, np.where(labels > 0, 5, 0))
    deleted = labels.copy()
    delete_objects(deleted, [1]).apply(deleted)
    assert np.array_equal(deleted, np.where(labels == 1, 0, labels))


def test_fill_closes_a_hole_and_leaves_an_object_inside_it(labels: np.ndarray) -> None:
    labels[3, 21, 29] = 9
    fill_object(labels, 5).apply(labels)
    assert labels[3, 22, 30] == 5
    assert labels[3, 21, 29] == 9


def test_smooth_removes_a_spike_and_enters_no_other_object(labels: np.ndarray) -> None:
    labels[4, 10, 23:30] = 1  # a spike
    labels[4, 9, 8] = 8
    before = labels.copy()
    smooth_object(labels, 1, 1.0).apply(labels)
    assert not (labels[4, 10, 26:30] == 1).any()
    assert labels[4, 9, 8] == 8
    kept = (labels == 1).sum() / (before == 1).sum()
    assert 0.8 < kept < 1.1


def test_interpolation_between_planes() -> None:
    labels = np.zeros((9, 40, 40), np.uint32)
    y, x = np.indices((40, 40))
    for z, radius in ((1, 4), (7, 10)):
        labels[z][(y - 20) ** 2 + (x - 20) ** 2 <= radius**2] = 3
    labels[4, 20, 21] = 7
    interpolate_object(labels, 3, 7, 1).apply(labels)
    areas = [(labels[z] == 3).sum() for z in range(9)]
    assert areas[0] == areas[8] == 0
    assert areas[1] < areas[2] < areas[4] < areas[6] < areas[7]
    assert np.sqrt(areas[4] / np.pi) == pytest.approx(7, abs=0.7)
    assert labels[4, 20, 21] == 7


def test_interpolated_masks_move_between_drawn_planes() -> None:
    drawn = {}
    for z, left in ((0, 5), (4, 13)):
        drawn[z] = np.zeros((20, 30), bool)
        drawn[z][5:15, left : left + 10] = True
    found = interpolate_masks(drawn, 6)
    assert np.array_equal(found[0], drawn[0]) and np.array_equal(found[4], drawn[4])
    assert ndimage.center_of_mass(found[2])[1] == pytest.approx(13.5, abs=1)
    assert not found[5].any()


def test_add_a_ball_and_a_predicted_object(labels: np.ndarray) -> None:
    ball = add_ball(labels, (4, 24, 8), 3.0, (1.0, 0.5, 0.5))
    ball.apply(labels)
    found = np.nonzero(labels == 6)
    assert [int(np.ptp(axis)) + 1 for axis in found] == [7, 12, 13]  # y is cut at the border
    predicted = np.zeros_like(labels)
    predicted[1:8, 16:26, 20:30] = 2
    add_predicted(labels, predicted, (2, 17, 21)).apply(labels)
    assert (labels == 7).sum() == ((predicted == 2) & (labels != 5)).sum() > 0


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda m: split_object(m, [(4, 10, 8)]), "1 point"),
        (lambda m: split_object(m, [(4, 10, 8), (4, 20, 30)]), "different objects: 1, 5"),
        (lambda m: split_object(m, [(4, 10, 8), (4, 10, 8.2)]), "same voxel"),
        (lambda m: split_object(m, [(0, 0, 0), (4, 10, 8)]), "no object at z 0, y 0, x 0"),
        (lambda m: split_object(m, [(40, 0, 0), (4, 10, 8)]), "outside the image"),
        (lambda m: cut_object(m, [(4, 0, 0), (4, 0, 39)]), "crosses no object"),
        (lambda m: cut_object(m, [(4, 10, 8), (4, 10, 10)]), "does not cut through object 1"),
        (lambda m: cut_object(m, [(4, 10, 8)]), "one point"),
        (lambda m: merge_objects(m, [1]), "only object 1"),
        (lambda m: merge_objects(m, [1, 77]), "no object 77"),
        (lambda m: delete_objects(m, [0]), "no object was chosen"),
        (lambda m: fill_object(m, 1), "nothing would change"),
        (lambda m: smooth_object(m, 5, 30), "would vanish"),
        (lambda m: interpolate_object(m, 5, 2, 3), "no plane lies between"),
        (lambda m: interpolate_object(m, 5, 0, 4), "not in plane 0"),
        (lambda m: interpolate_object(m[4], 5, 0, 4), "one plane"),
        (lambda m: add_ball(m, (4, 10, 8), 2), "object 1 is already there"),
        (lambda m: add_predicted(m, np.zeros_like(m), (4, 24, 8)), "prediction has no object"),
    ],
)
def test_mistakes_are_reported_in_words_and_change_nothing(
    labels: np.ndarray, edit: Callable[[np.ndarray], Edit], message: str
) -> None:
    before = labels.copy()
    with pytest.raises(ConfigError, match=message):
        edit(labels)
    assert np.array_equal(labels, before)
