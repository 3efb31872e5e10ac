"""Which image and which position each patch comes from."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from cytoloop.data.cached_image import CachedImage
from cytoloop.data.patch_centres import draw_centre, object_points, valid_points
from cytoloop.data.patch_schedule import PatchSchedule
from cytoloop.data.settings import SamplingSettings


def make_image(labels: np.ndarray, valid: np.ndarray | None = None) -> CachedImage:
    valid = np.ones(labels.shape, bool) if valid is None else valid
    image = np.zeros((1, *labels.shape), np.uint8)
    return CachedImage(
        "a", image, labels, valid, *object_points(labels, valid), valid_points=valid_points(valid)
    )


def two_objects() -> np.ndarray:
    labels = np.zeros((8, 64, 64), np.uint16)
    labels[3:5, 4:6, 4:6] = 1
    labels[:, 30:60, 30:60] = 2
    return labels


def windows(cached: CachedImage, size: tuple[int, ...], fraction: float, count: int) -> list[tuple]:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        corner = draw_centre(cached, size, rng, fraction) - (np.array(size) - 1) / 2
        assert (corner == corner.astype(int)).all() and (corner >= 0).all()
        assert (corner + size <= cached.shape).all()
        found.append(tuple(slice(int(c), int(c) + s) for c, s in zip(corner, size, strict=True)))
    return found


def test_a_small_object_is_as_likely_as_a_large_one() -> None:
    cached = make_image(two_objects())
    near = [(cached.labels[w] == 1).any() for w in windows(cached, (4, 8, 8), 1.0, 600)]
    assert 240 < sum(near) < 360


def test_a_third_of_the_patches_is_placed_around_objects() -> None:
    labels = np.zeros((8, 64, 64), np.uint16)
    labels[4, 30:33, 30:33] = 1
    cached = make_image(labels)
    hits = [(labels[w] > 0).any() for w in windows(cached, (4, 8, 8), 1 / 3, 1500)]
    # a random patch holds the object with probability 1/54
    assert 1 / 3 - 0.05 < np.mean(hits) < 1 / 3 + 0.05
    assert np.mean([(labels[w] > 0).any() for w in windows(cached, (4, 8, 8), 0, 600)]) < 0.1


def test_every_position_is_reached_including_the_last() -> None:
    cached = make_image(np.zeros((5, 12, 12), np.uint8))
    assert len({str(w) for w in windows(cached, (4, 8, 8), 0.33, 800)}) == 2 * 5 * 5


@pytest.mark.parametrize("annotated", [slice(3, 4), slice(0, 1), slice(7, 8)])
def test_every_patch_has_valid_voxels(annotated: slice) -> None:
    """Typical partial annotation: one annotated corner, or one annotated plane."""
    corner = np.zeros((8, 64, 64), bool)
    corner[:, 60:, 60:] = True
    plane = np.zeros((8, 64, 64), bool)
    plane[annotated] = True
    for valid in (corner, plane):
        cached = make_image(two_objects(), valid)
        for fraction in (0.0, 0.5, 1.0):
            assert all(valid[w].any() for w in windows(cached, (4, 8, 8), fraction, 200))


def schedule(
    shapes: list[tuple[int, ...]],
    per_image: int | None = None,
    steps: int | None = None,
    seed: int = 0,
) -> PatchSchedule:
    return PatchSchedule(shapes, SamplingSettings((4, 8, 8), 2, per_image, steps, seed=seed))


def drawn(order: PatchSchedule, epoch: int = 0) -> list[int]:
    return [order.image_index(epoch, number) for number in range(order.length)]


def test_patches_per_image_follow_the_volume() -> None:
    order = schedule([(8, 16, 16), (4, 8, 8), (80, 160, 160), (9, 160, 160)])
    counts = Counter(drawn(order))
    assert counts[0] in (8, 9) and counts[1] in (1, 2)
    assert counts[2] in (100, 101) and counts[3] in (100, 101)
    assert sum(counts.values()) == order.length == 210  # 209, rounded up to whole batches


def test_an_epoch_of_few_small_images_has_128_patches() -> None:
    counts = Counter(drawn(schedule([(8, 16, 16), (8, 16, 8)])))
    assert sum(counts.values()) == 128 and counts[0] in (85, 86)


def test_patches_per_image_may_be_set() -> None:
    assert Counter(drawn(schedule([(8, 16, 16), (4, 8, 8)], per_image=5))) == {0: 5, 1: 5}
    assert Counter(drawn(schedule([(4, 8, 8)], per_image=1))) == {0: 2}


def test_images_share_the_steps_of_an_epoch_in_proportion() -> None:
    order = schedule([(4, 8, 8), (4, 8, 24)], steps=3)
    assert order.length == 6
    total = Counter(n for epoch in range(1000) for n in drawn(order, epoch))
    assert total[1] / total[0] == pytest.approx(3, rel=0.06)
    many = schedule([(4, 8, 8)] * 50, steps=5)  # more images than patches per epoch
    assert len({n for epoch in range(60) for n in drawn(many, epoch)}) == 50


def test_the_order_depends_on_seed_and_epoch() -> None:
    order = schedule([(8, 16, 16)] * 3)
    first, second = drawn(order, 0), drawn(order, 1)
    assert first != second and drawn(order, 0) == first
    assert drawn(schedule([(8, 16, 16)] * 3, seed=1)) != first
