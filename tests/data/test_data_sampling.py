from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from cytoloop.data.cached_image import CachedImage
from cytoloop.data.patch_centres import object_points, valid_places
from cytoloop.data.patch_schedule import PatchSchedule, draw_centre
from cytoloop.errors import ConfigError


def make_entry(labels: np.ndarray, valid: np.ndarray | None = None) -> CachedImage:
    valid = np.ones(labels.shape, bool) if valid is None else valid
    image = np.zeros((1, *labels.shape), np.uint8)
    return CachedImage(
        "a", image, labels, valid, *object_points(labels, valid), places=valid_places(valid)
    )


def two_objects() -> np.ndarray:
    labels = np.zeros((8, 64, 64), np.uint16)
    labels[3:5, 4:6, 4:6] = 1
    labels[:, 30:60, 30:60] = 2
    return labels


def windows(entry: CachedImage, size: tuple[int, ...], share: float, count: int) -> list[tuple]:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        corner = draw_centre(entry, size, rng, share) - (np.array(size) - 1) / 2
        assert (corner == corner.astype(int)).all() and (corner >= 0).all()
        assert (corner + size <= entry.shape).all()
        found.append(tuple(slice(int(c), int(c) + s) for c, s in zip(corner, size, strict=True)))
    return found


def test_a_small_object_is_as_likely_as_a_large_one() -> None:
    entry = make_entry(two_objects())
    near = [(entry.labels[w] == 1).any() for w in windows(entry, (4, 8, 8), 1.0, 600)]
    assert 240 < sum(near) < 360


def test_a_third_of_the_patches_is_placed_around_objects() -> None:
    labels = np.zeros((8, 64, 64), np.uint16)
    labels[4, 30:33, 30:33] = 1
    entry = make_entry(labels)
    hits = [(labels[w] > 0).any() for w in windows(entry, (4, 8, 8), 1 / 3, 1500)]
    # by chance alone 1 patch in 54 holds the object
    assert 1 / 3 - 0.05 < np.mean(hits) < 1 / 3 + 0.05
    assert np.mean([(labels[w] > 0).any() for w in windows(entry, (4, 8, 8), 0, 600)]) < 0.1


def test_every_place_is_reached_the_last_one_too() -> None:
    entry = make_entry(np.zeros((5, 12, 12), np.uint8))
    assert len({str(w) for w in windows(entry, (4, 8, 8), 0.33, 800)}) == 2 * 5 * 5


@pytest.mark.parametrize("annotated", [slice(3, 4), slice(0, 1), slice(7, 8)])
def test_no_patch_is_excluded_as_a_whole(annotated: slice) -> None:
    """One annotated corner, one annotated slice: what partial annotation looks like."""
    corner = np.zeros((8, 64, 64), bool)
    corner[:, 60:, 60:] = True
    plane = np.zeros((8, 64, 64), bool)
    plane[annotated] = True
    for valid in (corner, plane):
        entry = make_entry(two_objects(), valid)
        for share in (0.0, 0.5, 1.0):
            assert all(valid[w].any() for w in windows(entry, (4, 8, 8), share, 200))


def schedule(
    shapes: list[tuple[int, ...]], images: int | None = None, steps: int | None = None
) -> PatchSchedule:
    return PatchSchedule(shapes, (4, 8, 8), 2, images, steps, seed=0)


def drawn(plan: PatchSchedule, epoch: int = 0) -> list[int]:
    return [plan.image(epoch, index) for index in range(plan.length)]


def test_images_give_patches_by_their_volume() -> None:
    plan = schedule([(8, 16, 16), (4, 8, 8), (80, 160, 160), (9, 160, 160)])
    counts = Counter(drawn(plan))
    assert counts[0] in (8, 9) and counts[1] in (1, 2)
    assert counts[2] in (100, 101) and counts[3] in (100, 101)
    assert sum(counts.values()) == plan.length == 210  # 209, filled up to whole batches


def test_few_small_images_still_make_an_epoch() -> None:
    counts = Counter(drawn(schedule([(8, 16, 16), (8, 16, 8)])))
    assert sum(counts.values()) == 128 and counts[0] in (85, 86)


def test_every_image_gives_the_same_number_where_one_is_named() -> None:
    assert Counter(drawn(schedule([(8, 16, 16), (4, 8, 8)], images=5))) == {0: 5, 1: 5}
    assert Counter(drawn(schedule([(4, 8, 8)], images=1))) == {0: 2}


def test_epochs_by_steps_share_patches_fairly_in_the_long_run() -> None:
    plan = schedule([(4, 8, 8), (4, 8, 24)], steps=3)
    assert plan.length == 6
    total = Counter(n for epoch in range(1000) for n in drawn(plan, epoch))
    assert total[1] / total[0] == pytest.approx(3, rel=0.06)
    many = schedule([(4, 8, 8)] * 50, steps=5)  # more images than patches: all have their turn
    assert len({n for epoch in range(60) for n in drawn(many, epoch)}) == 50


def test_order_follows_from_seed_and_epoch() -> None:
    plan = schedule([(8, 16, 16)] * 3)
    first, second = drawn(plan, 0), drawn(plan, 1)
    assert first != second and drawn(plan, 0) == first
    other = PatchSchedule([(8, 16, 16)] * 3, (4, 8, 8), 2, None, None, seed=1)
    assert drawn(other) != first


def test_counts_that_cannot_be_are_refused() -> None:
    for images, steps, key in ((0, None, "patches_per_image"), (None, 0, "steps_per_epoch")):
        with pytest.raises(ConfigError, match=key):
            schedule([(4, 8, 8)], images, steps)
