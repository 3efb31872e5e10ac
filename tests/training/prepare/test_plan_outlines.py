"""Where objects end: measured as defined, and what the plan makes of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cytoloop.data.cached_image import CachedImage
from cytoloop.training.prepare.plan.fingerprint import fingerprint
from cytoloop.training.prepare.plan.outlines import LOWERS, UPPERS, outline_levels, outline_spreads
from cytoloop.training.prepare.plan.training_values import _upper


def brute_force(image: np.ndarray, objects: np.ndarray, valid: np.ndarray) -> float:
    """Return the median over all faces between an object and background, one by one."""
    found = []
    for here in np.ndindex(objects.shape):
        for axis in range(objects.ndim):
            there = tuple(n + (a == axis) for a, n in enumerate(here))
            if there[axis] == objects.shape[axis] or not (valid[here] and valid[there]):
                continue
            if (objects[here] > 0) != (objects[there] > 0):
                found.append((float(image[here]) + float(image[there])) / 2)
    return float(np.median(found))


@pytest.mark.parametrize("shape", [(12, 15), (5, 9, 8)])
def test_the_level_of_outlines_is_the_median_over_all_faces(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 250, (2, *shape)).astype(np.uint8)  # sums beyond 255
    objects = rng.integers(0, 3, shape)
    valid = rng.random(shape) > 0.2
    found = outline_levels(image, objects, valid)
    assert found == [pytest.approx(brute_force(one, objects, valid)) for one in image]


def test_what_is_excluded_touches_and_empty_has_no_outline() -> None:
    objects = np.ones((6, 6), int)
    objects[:, 3:] = 2  # touch each other, not background
    valid = np.ones((6, 6), bool)
    assert outline_levels(np.ones((1, 6, 6)), objects, valid) == []
    objects[:, 5] = 0
    valid[:, 5] = False
    assert outline_levels(np.ones((1, 6, 6)), objects, valid) == []
    assert outline_spreads([]) == ()
    labels = np.eye(6, dtype=int)
    assert outline_levels(np.full((1, 6, 6), np.nan), labels, np.ones((6, 6), bool)) == []


def entries(count: int, channels: int = 1) -> list[CachedImage]:
    """Return pictures of 1 to `count` equal squares, of edges half as bright, on dark noise."""
    rng, made = np.random.default_rng(0), []
    for number in range(1, count + 1):
        labels = np.zeros((200, 200), np.uint16)
        image = rng.normal(100, 2, (channels, 200, 200)).astype(np.float32)
        for one in range(number):
            y, x = divmod(one, 4)
            box = np.s_[10 + 20 * y : 20 + 20 * y, 10 + 20 * x : 20 + 20 * x]
            labels[box] = one + 1
            image[-1][box] += 200  # half of it at a face
        empty = np.zeros((0, 2)), np.zeros(1)
        made.append(CachedImage(f"{number}", image, labels, np.ones(labels.shape, bool), *empty))
    return made


def test_the_upper_percentile_brings_outlines_to_one_level() -> None:
    found = fingerprint(entries(16))
    # a square is 0.25 % of a picture: 99.8 and more lie in the first one, too
    spreads = {one.upper: one.spread for one in found.outlines if one.lower == 50}
    assert set(spreads) == set(UPPERS) and found.outlined == 16
    assert spreads[99.8] < 0.05 < 0.3 < spreads[99.5] < spreads[99.0]
    choice = _upper(found, 50.0)
    assert choice.value in (99.8, 99.9, 99.95) and "in 16 images, outlines lie at" in choice.reason
    assert "at 50% of it" in choice.reason or "at 49% of it" in choice.reason
    assert {one.lower for one in found.outlines} == set(LOWERS)


def test_another_lower_percentile_or_few_images_are_planned_by_the_share_of_objects() -> None:
    found = fingerprint(entries(16))
    assert "of the voxels" in _upper(found, 5.0).reason
    few = fingerprint(entries(7))
    assert "of the voxels" in _upper(few, 50.0).reason and few.outlined == 7
    none = dataclasses.replace(found, outlines=(), outlined=0)
    assert "of the voxels" in _upper(none, 50.0).reason


def test_a_channel_without_the_objects_decides_nothing() -> None:
    one, two = fingerprint(entries(16)), fingerprint(entries(16, channels=2))
    assert _upper(two, 50.0).value == _upper(one, 50.0).value
