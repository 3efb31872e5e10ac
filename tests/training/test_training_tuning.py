"""Post-processing chosen on validation images: the best there is among what is tried."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from cytoloop.inference.postprocess.settings import PostprocessSettings
from cytoloop.inference.postprocess.training_facts import TrainingFacts
from cytoloop.training import tuning, tuning_images


def example(labels: np.ndarray, valid: np.ndarray | None = None) -> Any:
    valid = np.ones(labels.shape, bool) if valid is None else valid
    return SimpleNamespace(id="a", labels=labels, valid=valid, spacing_um=None)


def test_the_threshold_is_that_of_the_best_dice_over_voxels_that_count() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((40, 50)) < 0.3
    levels = np.where(truth, rng.integers(90, 256, truth.shape), rng.integers(0, 130, truth.shape))
    levels = levels.astype(np.uint8)
    valid = np.ones(truth.shape, bool)
    valid[:, 30:] = False
    levels[:, 30:] = 255 * ~truth[:, 30:]  # nonsense, where nothing counts
    threshold, dice = tuning.best_threshold([levels], [example(truth.astype(np.uint8), valid)])

    def score(cut: float) -> float:
        found = (levels > cut * 255) & valid
        true = truth & valid
        return 2 * (found & true).sum() / (found.sum() + true.sum())

    best = max(score((level + 0.5) / 255) for level in range(26, 230))
    assert dice == pytest.approx(score(threshold)) and dice > best - 0.002


def test_a_low_threshold_is_raised_as_far_as_dice_hardly_falls() -> None:
    truth = np.zeros((40, 50), np.uint8)
    truth[:20] = 1

    def chosen(dim: int) -> float:
        """So many of 1000 voxels of objects are at 80 of 255, the others at 250."""
        levels = np.where(truth > 0, 250, 10).astype(np.uint8)
        levels.ravel()[:dim] = 80
        levels.ravel()[-50:] = 60
        return tuning.best_threshold([levels], [example(truth, np.ones(truth.shape, bool))])[0]

    assert chosen(0) == pytest.approx(0.61, abs=0.1)  # flat up to the objects: the middle
    assert chosen(5) == pytest.approx(0.5, abs=0.01)  # costs .0025
    assert 60 / 255 < chosen(20) < 80 / 255 + 0.01  # would cost .01


def test_the_dice_is_that_of_the_first_images_all_choose_the_threshold() -> None:
    truth = np.zeros((40, 50), np.uint8)
    truth[:20] = 1
    dim = np.where(truth > 0, 120, 10).astype(np.uint8)
    hazy = np.where(truth > 0, 250, 10).astype(np.uint8)
    hazy[20:30] = 180
    alone, dice = tuning.best_threshold([dim], [example(truth)])
    assert alone < 120 / 255 and dice == 1
    together = tuning.best_threshold([dim, *[hazy] * 3], [example(truth)] * 4, scored=1)
    assert together[0] > 180 / 255 and together[1] == 0


def test_objects_that_only_contours_part_are_found_apart() -> None:
    truth = np.zeros((20, 60), np.uint8)
    truth[5:15, 5:30], truth[5:15, 30:55] = 1, 2
    mask = (truth > 0).astype(np.uint8) * 255
    contour = np.zeros_like(mask)
    contour[5:15, 28:32] = 255
    maps = {"probability": mask, "distance": mask // 2}
    rest = ([example(truth)], PostprocessSettings(), TrainingFacts(), 0.5, 1)
    assert tuning.best_watershed([maps], *rest)["ap_50"] < 1
    assert tuning.best_watershed([{**maps, "contour": contour}], *rest)["ap_50"] == 1


def test_touching_objects_ask_for_another_watershed_than_lobed_ones() -> None:
    shape = (60, 120)
    grid = np.indices(shape)

    def disc(y: float, x: float, r: float) -> np.ndarray:
        return (grid[0] - y) ** 2 + (grid[1] - x) ** 2 <= r * r

    mask = disc(30, 30, 12) | disc(30, 49, 12) | disc(30, 90, 12)
    apart = np.zeros(shape, np.uint8)
    apart[disc(30, 30, 12) & (grid[1] < 40)] = 1
    apart[disc(30, 49, 12) & (grid[1] >= 40)] = 2
    apart[disc(30, 90, 12)] = 3
    lobed, _ = ndimage.label(mask)
    maps = [{"probability": mask.astype(np.uint8) * 255}]
    rest = (PostprocessSettings(), TrainingFacts(), 0.5)
    parted = tuning.best_watershed(maps, [example(apart)], *rest, 1)
    whole = tuning.best_watershed(maps, [example(lobed)], *rest, 1)
    assert parted["ap_50"] == whole["ap_50"] == 1.0
    assert parted["min_depth"] < whole["min_depth"]
    # two training images outvote the one for validation, which alone is scored
    three = [example(lobed), example(apart), example(apart)]
    outvoted = tuning.best_watershed(maps * 3, three, *rest, 1)
    assert outvoted["min_depth"] == parted["min_depth"]
    assert outvoted["ap_50"] == pytest.approx(2 / 3)  # one half of the lobed one is larger
    # a validation image without objects has no SEG, and none is told
    empty = [example(np.zeros(shape, np.uint8)), example(apart)]
    told = tuning.best_watershed(maps * 2, empty, *rest, 1)
    assert told["min_depth"] == parted["min_depth"] and "seg" not in told


def test_images_are_taken_evenly_and_training_images_as_far_as_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert tuning_images.evenly(range(3)) == [0, 1, 2] and tuning_images.evenly([]) == []
    assert tuning_images.evenly(range(40)) == [number * 40 // 16 for number in range(16)]
    monkeypatch.setattr(tuning_images, "MAX_VOXELS", 250)
    sides = (10, 20, 12, 3, 2)  # 400 is too large, 144 fits beside 100, 9 no more
    some = [example(np.zeros((side, side), np.uint8)) for side in sides]
    few, enough = tuning_images.ENOUGH_OBJECTS - 1, tuning_images.ENOUGH_OBJECTS
    assert [one.labels.size for one in tuning_images.select_training(few, some)] == [100, 144, 4]
    assert tuning_images.select_training(enough, some) == []
    mask = np.zeros((9, 9), np.uint8)
    mask[:2], mask[4:6] = 255, 255
    assert (
        tuning_images.count_objects(example(mask)) == 2
        and tuning_images.count_objects(some[0]) == 0
    )


def test_thin_masks_have_no_objects_to_separate() -> None:
    has_objects = tuning_images.has_objects
    lines = np.zeros((60, 60), np.uint8)
    lines[[10, 30, 50], 2:58] = 1
    discs = np.zeros((60, 60), np.uint8)
    discs[5:25, 5:25] = discs[30:55, 30:55] = 1
    none = np.zeros((60, 60), np.uint8)
    assert not has_objects([example(lines), example(lines)])
    assert has_objects([example(lines), example(discs)])
    assert has_objects([example(discs)]) and not has_objects([example(none)])
    numbered = lines * np.arange(60, dtype=np.uint8)[:, None]
    assert has_objects([example(numbered)])  # filaments with a number each can be merged
