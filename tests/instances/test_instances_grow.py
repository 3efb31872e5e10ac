"""Objects that grow or shrink: how far, at contacts, in blocks, and what is measured."""

from __future__ import annotations

import numpy as np
import pytest

from cytoloop.instances import InstanceSettings, segment
from cytoloop.instances.blocks import Blocks, in_memory
from cytoloop.instances.grow import grow_labels, grow_objects


def two_boxes() -> np.ndarray:
    """Return two boxes that touch in X: [3:5, 6:12, 4:8] and [3:5, 6:12, 8:12] of (8, 18, 16)."""
    labels = np.zeros((8, 18, 16), np.uint8)
    labels[3:5, 6:12, 4:8], labels[3:5, 6:12, 8:12] = 1, 2
    return labels


def sides(labels: np.ndarray, number: int) -> list[tuple[int, int]]:
    found = np.nonzero(labels == number)
    return [(int(axis.min()), int(axis.max()) + 1) for axis in found if len(axis)]


def test_objects_grow_by_as_many_voxels_as_asked() -> None:
    assert sides(grow_labels(two_boxes(), 0, 1), 1) == [(2, 6), (6, 12), (4, 8)]
    assert sides(grow_labels(two_boxes(), 2, 0), 1) == [(3, 5), (4, 14), (2, 8)]
    assert sides(grow_labels(two_boxes(), 2, -1), 1) == []
    assert sides(grow_labels(two_boxes()[3], 1), 2) == [(5, 13), (8, 13)]


def test_touching_objects_keep_the_border_between_them() -> None:
    shrunk = grow_labels(two_boxes(), -1)
    assert sides(shrunk, 1) == [(3, 5), (7, 11), (5, 8)]
    assert sides(shrunk, 2) == [(3, 5), (7, 11), (8, 11)]
    grown = grow_labels(two_boxes(), 3)
    assert (grown[4, 6:12, 4:8] == 1).all() and (grown[4, 6:12, 8:12] == 2).all()


def test_a_side_of_the_image_takes_nothing_away() -> None:
    labels = np.zeros((6, 10, 10), np.uint8)
    labels[:3, :, 2:8] = 1
    assert sides(grow_labels(labels, -1, -1), 1) == [(0, 2), (0, 10), (3, 7)]


@pytest.mark.parametrize(("pixels", "planes"), [(2, 1), (-1, 0), (3, -1)])
def test_blocks_give_what_the_whole_volume_gives(pixels: int, planes: int) -> None:
    rng = np.random.default_rng(1)
    labels = np.kron(
        rng.integers(0, 5, (4, 6, 6)) * (rng.random((4, 6, 6)) < 0.4), np.ones((3,) * 3)
    )
    regions = labels.astype(np.uint32)
    number = np.arange(5)
    blocks = Blocks(regions.shape, (5, 7, 8))
    found = grow_objects(regions, number, pixels, planes, in_memory, blocks)
    assert np.array_equal(np.asarray(found), grow_labels(regions, pixels, planes))


def test_grown_objects_are_measured_and_those_that_vanish_are_gone() -> None:
    probability = np.zeros((12, 24, 24), np.float32)
    probability[3:9, 4:12, 4:12] = 0.9
    probability[5, 18:20, 18:20] = 0.9
    settings = InstanceSettings(seed_smoothing=0, grow_planes=1, grow=1)
    labels, found = segment(probability, settings)
    assert found.voxels[1:].tolist() == np.bincount(np.asarray(labels).ravel())[1:].tolist()
    large = int(np.argmax(found.voxels))
    assert found.bounding_box(large) == (slice(2, 10), slice(3, 13), slice(3, 13))
    labels, found = segment(probability, InstanceSettings(seed_smoothing=0, grow=-1))
    assert found.voxels[1:].tolist() == [6 * 6 * 6] and np.max(labels) == 1
