"""Thresholds from histograms, compared with scikit-image; no objects in background."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import filters

from cytoloop.errors import ConfigError
from cytoloop.instances.blocks import Blocks
from cytoloop.instances.thresholds import AUTOMATIC, choose_threshold, histogram


def levels(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.beta(1, 20, 9000), rng.beta(10, 2, 3000)]).reshape(100, 120)


@pytest.mark.parametrize("name", AUTOMATIC)
def test_every_method_equals_scikit_image(name: str) -> None:
    stored = np.rint(levels() * 255).astype(np.uint8)
    counts = histogram(stored, Blocks(stored.shape, (7, 50)))
    np.testing.assert_array_equal(counts, np.bincount(stored.ravel(), minlength=256))
    expected = float(getattr(filters, f"threshold_{name}")(stored)) / 255
    assert choose_threshold(name, counts) == pytest.approx(np.clip(expected, 0.1, 0.9), abs=0.005)


def test_float_and_uint8_maps_have_the_same_histogram() -> None:
    probability = levels()
    blocks = Blocks(probability.shape, probability.shape)
    found = histogram(probability.astype(np.float32), blocks)
    np.testing.assert_array_equal(
        found, histogram(np.rint(probability * 255).astype(np.uint8), blocks)
    )


@pytest.mark.parametrize("name", AUTOMATIC)
def test_pure_background_has_no_foreground(name: str) -> None:
    stored = np.rint(np.random.default_rng(0).beta(1, 20, (100, 100)) * 255).astype(np.uint8)
    stored = np.minimum(stored, 120)  # no voxel reaches 0.5
    counts = histogram(stored, Blocks(stored.shape, stored.shape))
    assert not (stored > choose_threshold(name, counts) * 255).any()
    assert not (np.zeros(9) > choose_threshold(name, np.bincount([0] * 9, minlength=256))).any()


@pytest.mark.parametrize("name", AUTOMATIC)
def test_a_single_likely_voxel_does_not_turn_background_into_objects(name: str) -> None:
    stored = np.rint(np.random.default_rng(0).beta(2, 8, (100, 100)) * 255).astype(np.uint8)
    stored = np.minimum(stored, 120)
    stored[50, 50] = 140
    counts = histogram(stored, Blocks(stored.shape, stored.shape))
    assert (stored > choose_threshold(name, counts) * 255).sum() <= 1


@pytest.mark.parametrize("shape", [(256, 4096, 4096), (4, 9000, 9000), (3000, 100, 100), (50, 60)])
def test_blocks_hold_at_most_max_voxels(shape: tuple[int, ...]) -> None:
    blocks = Blocks.for_shape(shape, 2**24)
    assert np.prod(blocks.size) <= 2**24
    assert all(size <= side for size, side in zip(blocks.size, shape, strict=True))


def test_a_number_is_returned_and_an_unknown_method_is_refused() -> None:
    assert choose_threshold(0.37, np.zeros(256, np.int64)) == 0.37
    with pytest.raises(ConfigError, match="otsu"):
        choose_threshold("otso", np.ones(256, np.int64))
