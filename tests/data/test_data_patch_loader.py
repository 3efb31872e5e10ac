"""Batches of patches: independent of threads and processes, resumable; whole images."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cytoloop.data.augmentation import Augmentation, Elastic, Flip, Noise, QuarterTurn, Rotate
from cytoloop.data.cached_image import CachedImage
from cytoloop.data.dataset import ImageShard, PatchDataset, WholeImages
from cytoloop.data.patch_centres import object_points, valid_points
from cytoloop.data.patch_loader import PatchLoader
from cytoloop.data.patch_schedule import PatchSchedule
from cytoloop.data.settings import SamplingSettings

NORMALIZATION = {"method": "none"}
SIZE = (4, 8, 8)


def make_image(shape: tuple[int, ...], name: str, spacing: tuple | None = (1, 1, 1)) -> CachedImage:
    rng = np.random.default_rng(3)
    labels = (rng.random(shape) > 0.9).astype(np.uint16) * rng.integers(1, 9, shape, np.uint16)
    valid = rng.random(shape) > 0.1
    image = rng.integers(0, 1000, (1, *shape)).astype(np.uint16)
    points = object_points(labels, valid)
    return CachedImage(name, image, labels, valid, *points, valid_points(valid), spacing)


def make_loader(workers: int, steps: int = 6, seed: int = 0, **where: int) -> PatchLoader:
    images = [make_image((8, 40, 40), "a"), make_image((6, 30, 50), "b", (3.0, 1.0, 1.0))]
    settings = SamplingSettings(SIZE, 2, steps_per_epoch=steps, foreground_fraction=0.33, seed=seed)
    schedule = PatchSchedule([i.shape for i in images], settings)
    augmentation = Augmentation(
        flip=Flip(0.7),
        turn=QuarterTurn(0.5),
        rotate=Rotate(0.5),
        elastic=Elastic(0.3),
        noise=Noise(0.5),
    )
    intensity = [i.intensity_stats(NORMALIZATION) for i in images]
    patches = PatchDataset(images, intensity, schedule, augmentation)
    return PatchLoader(patches, schedule.length, 2, workers, **where)


def test_patches_repeat_in_an_epoch_shorter_than_a_step_of_all_processes() -> None:
    for rank in range(3):
        (batch,) = make_loader(0, steps=1, rank=rank, world=3)
        assert len(batch["image"]) == 2


def is_same(one: dict, other: dict) -> bool:
    return one["id"] == other["id"] and all(
        torch.equal(one[key], other[key]) for key in ("image", "target", "weight")
    )


def test_batches_do_not_depend_on_the_number_of_workers() -> None:
    runs = [list(make_loader(workers)) for workers in (0, 1, 2, 5)]
    for other in runs[1:]:
        assert len(other) == 6
        assert all(is_same(a, b) for a, b in zip(runs[0], other, strict=True))


def test_epochs_differ_and_are_reproducible() -> None:
    loader = make_loader(1)
    first = list(loader)
    loader.sampler.set_epoch(1)
    second = list(loader)
    loader.sampler.set_epoch(0)
    assert all(is_same(a, b) for a, b in zip(first, loader, strict=True))
    assert not any(is_same(a, b) for a, b in zip(first, second, strict=True))
    assert not any(is_same(a, b) for a, b in zip(first, make_loader(1, seed=1), strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_resumes_after_the_last_returned_batch(workers: int) -> None:
    whole = list(make_loader(workers))
    stopped = make_loader(workers)
    batches = iter(stopped)
    for _ in range(4):
        next(batches)
    state = stopped.state_dict()
    batches.close()  # type: ignore[attr-defined]
    resumed = make_loader(workers)
    resumed.load_state_dict(state)
    assert all(is_same(a, b) for a, b in zip(resumed, whole[4:], strict=True))
    assert len(list(resumed)) == 6  # the next epoch is complete


def test_two_processes_load_each_patch_once() -> None:
    alone = list(make_loader(0, steps=8))
    augmentation = [list(make_loader(0, steps=8, rank=rank, world=2)) for rank in (0, 1)]
    assert [len(part) for part in augmentation] == [4, 4]
    together = [batch for pair in zip(*augmentation, strict=True) for batch in pair]
    assert all(is_same(a, b) for a, b in zip(alone, together, strict=True))


@given(st.integers(1, 12), st.integers(1, 5))
def test_each_whole_image_counts_in_one_process(images: int, world: int) -> None:
    whole: Any = [{"id": number} for number in range(images)]
    shards = [ImageShard(whole, rank, world) for rank in range(world)]
    assert len({len(shard) for shard in shards}) == 1  # the same number in all processes
    samples = [shard[number] for shard in shards for number in range(len(shard))]
    assert sorted(s["id"] for s in samples if s["counts"]) == list(range(images))


def test_an_error_in_a_thread_is_raised_by_the_loader() -> None:
    class Broken:
        def __getitem__(self, index: tuple[int, int]) -> dict:
            if index[1] >= 4:
                raise ValueError("patch 4 is broken")
            return {"image": torch.zeros(1)}

    found: list[dict] = []

    def take(batches: Iterator[dict]) -> None:
        for batch in batches:
            found.append(batch)

    with pytest.raises(ValueError, match="patch 4 is broken"):
        take(iter(PatchLoader(Broken(), 10, 2, workers=2)))
    assert len(found) == 2


def test_threads_end_with_the_epoch_and_use_one_core_each() -> None:
    seen = []

    class Watch:
        def __getitem__(self, index: tuple[int, int]) -> dict:
            seen.append((threading.current_thread().name, torch.get_num_threads()))
            return {"image": torch.zeros(1)}

    before = torch.get_num_threads()
    list(PatchLoader(Watch(), 10, 2, workers=2))
    assert {threads for _, threads in seen} == {1} and torch.get_num_threads() == before
    assert all(name.startswith("patches") for name, _ in seen)
    assert not any(thread.name.startswith("patches") for thread in threading.enumerate())


def test_one_image_mixed_shapes_and_2d_patches() -> None:
    images = [make_image((20, 30), "a", None), make_image((9, 64), "b")]
    for used in (images, images[:1]):
        settings = SamplingSettings((8, 16), 2, steps_per_epoch=4, foreground_fraction=0.33, seed=0)
        schedule = PatchSchedule([i.shape for i in used], settings)
        augmentation = Augmentation(flip=Flip(), turn=QuarterTurn(0.9), rotate=Rotate(0.5))
        intensity = [i.intensity_stats(NORMALIZATION) for i in used]
        patches = PatchDataset(used, intensity, schedule, augmentation)
        for batch in PatchLoader(patches, schedule.length, 2, 1):
            assert batch["image"].shape == (2, 1, 8, 16) == batch["weight"].shape


def test_whole_images_are_whole_and_in_order() -> None:
    images = [make_image((8, 20, 20), "a"), make_image((20, 20), "b")]
    whole = WholeImages(images, NORMALIZATION)
    assert len(whole) == 2 and [whole[i]["id"] for i in range(2)] == ["a", "b"]
    assert whole[0]["image"].shape == (1, 8, 20, 20) and whole[1]["target"].shape == (1, 20, 20)
    np.testing.assert_array_equal(whole[0]["weight"][0] > 0, images[0].valid)
