from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.transforms import Compose, RandAxisFlipd

from cytoloop.data.dataset import PatchDataset, WholeImages
from cytoloop.data.sampling import PatchLoader, PatchSampler, patch_corner
from cytoloop.data.store import Entry, object_points

RULE = {"method": "none"}


def make_entry(labels: np.ndarray, valid: np.ndarray | None = None, name: str = "a") -> Entry:
    valid = np.ones(labels.shape, bool) if valid is None else valid
    image = np.arange(labels.size, dtype=np.float32).reshape(1, *labels.shape)
    return Entry(name, image, labels, valid, *object_points(labels, valid), None)


def two_objects() -> np.ndarray:
    labels = np.zeros((8, 64, 64), np.uint16)
    labels[3:5, 4:6, 4:6] = 1
    labels[:, 30:60, 30:60] = 2
    return labels


def test_a_small_object_is_as_likely_as_a_large_one() -> None:
    entry = make_entry(two_objects())
    rng = np.random.default_rng(0)
    near_small = 0
    for _ in range(600):
        z, y, x = patch_corner(entry, (4, 8, 8), rng, foreground_share=1.0)
        near_small += bool((entry.labels[z : z + 4, y : y + 8, x : x + 8] == 1).any())
    assert 240 < near_small < 360


def test_every_place_is_reached_the_last_one_too() -> None:
    entry = make_entry(np.zeros((5, 12, 12), np.uint8))
    rng = np.random.default_rng(0)
    corners = {patch_corner(entry, (4, 8, 8), rng, 0.33) for _ in range(800)}
    assert len(corners) == 2 * 5 * 5


def test_no_patch_is_excluded_as_a_whole() -> None:
    valid = np.zeros((8, 64, 64), bool)
    valid[:, 60:, 60:] = True
    entry = make_entry(two_objects(), valid)
    rng = np.random.default_rng(0)
    for _ in range(100):
        window = tuple(
            slice(c, c + s)
            for c, s in zip(patch_corner(entry, (4, 8, 8), rng, 0.5), (4, 8, 8), strict=True)
        )
        assert valid[window].any()


def make_dataset(seed: int = 0) -> PatchDataset:
    flips = Compose([RandAxisFlipd(["image", "target", "weight"], prob=0.7)])
    entries = [make_entry(two_objects()), make_entry(two_objects()[:, :32], name="b")]
    return PatchDataset(entries, RULE, (4, 8, 8), 0.33, flips, seed)


def make_loader(workers: int, length: int = 12) -> PatchLoader:
    return PatchLoader(
        make_dataset(), batch_size=2, sampler=PatchSampler(length), num_workers=workers
    )


def test_batches_do_not_depend_on_the_number_of_workers() -> None:
    runs = [list(make_loader(workers)) for workers in (0, 1, 2)]
    for other in runs[1:]:
        for a, b in zip(runs[0], other, strict=True):
            assert torch.equal(a["image"], b["image"]) and a["id"] == b["id"]


def test_epochs_differ_and_repeat() -> None:
    loader = make_loader(0)
    first = [b["image"] for b in loader]
    loader.sampler.set_epoch(1)
    second = [b["image"] for b in loader]
    loader.sampler.set_epoch(0)
    again = [b["image"] for b in loader]
    assert not torch.equal(torch.stack(first), torch.stack(second))
    assert torch.equal(torch.stack(first), torch.stack(again))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_goes_on_after_the_batch_at_which_it_was_stopped(workers: int) -> None:
    whole = [b["image"] for b in make_loader(workers)]
    stopped = make_loader(workers)
    batches = iter(stopped)
    for _ in range(4):
        next(batches)
    state = stopped.state_dict()
    resumed = make_loader(workers)
    resumed.load_state_dict(state)
    rest = [b["image"] for b in resumed]
    assert torch.equal(torch.stack(rest), torch.stack(whole[4:]))
    assert len(list(resumed)) == 6  # the next epoch is whole


def test_image_target_and_weight_stay_aligned() -> None:
    valid = np.ones((8, 64, 64), bool)
    valid[:, ::2, ::2] = False
    entry = make_entry(two_objects(), valid)
    dataset = PatchDataset(
        [entry],
        RULE,
        (4, 8, 8),
        1.0,
        Compose([RandAxisFlipd(["image", "target", "weight"], prob=1.0)]),
        0,
    )
    for index in range(20):
        sample = dataset[(0, index)]
        places = sample["image"][0].long().numpy().ravel()  # each voxel's grey level is its place
        np.testing.assert_array_equal(
            sample["target"][0].numpy().ravel() > 0, entry.labels.ravel()[places] > 0
        )
        np.testing.assert_array_equal(
            sample["weight"][0].numpy().ravel() > 0, valid.ravel()[places]
        )


def test_whole_images_are_whole_and_in_order(tmp_path: Path) -> None:
    entries = [make_entry(two_objects()), make_entry(two_objects()[0], name="b")]
    images = WholeImages(entries, RULE)
    assert len(images) == 2 and [images[i]["id"] for i in range(2)] == ["a", "b"]
    assert images[0]["image"].shape == (1, 8, 64, 64) and images[1]["target"].shape == (1, 64, 64)
