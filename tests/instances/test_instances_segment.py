"""Watershed of probability maps: splits, filters, and independence of the block size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import regionprops
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import watershed

from cytoloop.instances import InstanceSettings, segment
from cytoloop.instances.blocks import Blocks
from cytoloop.instances.distance_map import log_distance_map
from cytoloop.instances.objects import write_table
from cytoloop.instances.watershed import (
    find_saddles,
    follow_exits,
    merge_shallow_regions,
    steepest_ascent,
)


def ball(
    shape: tuple[int, ...], centre: tuple[float, ...], radius: float, step: float = 1.0
) -> np.ndarray:
    grid = np.indices(shape).astype(float)
    grid[0] *= step
    return sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) <= radius**2


def labels_of(mask: np.ndarray, spacing: tuple | None = None, **changes: float) -> np.ndarray:
    changes = {"min_voxels": 30 if mask.ndim == 3 else 10, **changes}
    return np.asarray(segment(mask.astype(np.uint8) * 255, InstanceSettings(**changes), spacing)[0])


def test_two_touching_balls_are_two_objects_and_one_ball_is_one() -> None:
    shape = (24, 40, 60)
    one = ball(shape, (12, 20, 20), 9)
    both = one | ball(shape, (12, 20, 36), 9)
    assert labels_of(one).max() == 1
    labels = labels_of(both)
    assert labels.max() == 2 and labels.dtype == np.uint8
    assert ((labels > 0) == both).all()
    sizes = np.bincount(labels.ravel())[1:]
    assert abs(sizes[0] - sizes[1]) < 0.1 * sizes.sum()


def test_anisotropic_voxels_are_respected() -> None:
    shape = (12, 60, 90)  # z is 4 times coarser
    both = ball(shape, (24, 30, 30), 20, 4.0) | ball(shape, (24, 30, 62), 20, 4.0)
    assert labels_of(both, (4.0, 1.0, 1.0)).max() == 2
    # two boxes 24 um high, joined by a bridge 24 um high and 14 um wide
    blocks = np.zeros((10, 40, 82), bool)
    blocks[2:8, 8:32, 8:32] = blocks[2:8, 8:32, 50:74] = blocks[2:8, 13:27, 32:50] = True
    assert labels_of(blocks, (4.0, 1.0, 1.0)).max() == 2
    assert (
        labels_of(blocks).max() == 1
    )  # with cubic voxels, the distance to background is the same everywhere


def test_touching_discs_in_2d_are_two_objects() -> None:
    assert labels_of(ball((40, 60), (20, 20), 10) | ball((40, 60), (20, 37), 10)).max() == 2


def test_empty_full_and_small_objects() -> None:
    assert labels_of(np.zeros((5, 9, 9), bool)).max() == 0
    assert labels_of(np.ones((5, 9, 9), bool)).max() == 1
    cube = np.zeros((9, 20, 20), bool)
    cube[2:6, 2:6, 2:6] = True  # 64 voxels
    assert labels_of(cube, min_voxels=64).max() == 1
    assert labels_of(cube, min_voxels=65).max() == 0
    assert labels_of(cube, max_voxels=63).max() == 0


def test_more_than_255_objects_get_a_larger_dtype() -> None:
    mask = np.zeros((4, 170, 170), bool)
    for y in range(0, 168, 8):
        for x in range(0, 168, 8):
            mask[:, y : y + 4, x : x + 4] = True
    labels = labels_of(mask)
    assert labels.max() == 441 and labels.dtype == np.uint16


def test_holes_are_filled_with_the_enclosing_object_only() -> None:
    mask = ball((40, 90), (20, 20), 14) | ball((40, 90), (20, 65), 14)
    mask[18:22, 18:22] = False
    mask[17:24, 62:69] = False
    mask[19:22, 64:67] = True  # an object in the hole of another one
    labels = labels_of(mask, min_voxels=1)
    assert labels[20, 20] == labels[20, 12] > 0
    assert labels[20, 65] not in (0, labels[20, 55])
    assert labels[18, 63] == labels[20, 55]
    assert labels_of(mask, min_voxels=1, fill_holes=False)[20, 20] == 0


@pytest.mark.parametrize("ndim", [2, 3])
def test_holes_of_many_objects_are_those_of_the_whole_volume(ndim: int) -> None:
    """Rings, rings in rings, and rings that are larger than a block."""
    shape = (13, 60, 64)[-ndim:]
    mask = np.zeros(shape, bool)
    planes = (slice(2, 11),) * (ndim - 2)
    closed = (slice(3, 10),) * (ndim - 2)
    for y, x, size in [(1, 1, 40), (6, 7, 26), (12, 12, 9), (45, 3, 12), (45, 30, 12), (2, 48, 14)]:
        inner = slice(y + 2, y + size - 2), slice(x + 2, x + size - 2)
        mask[(*planes, slice(y, y + size), slice(x, x + size))] = True
        mask[(*closed, *inner)] = False
    options = InstanceSettings(seed_smoothing=0.5, min_depth=0.99)
    image = mask.astype(np.uint8) * 255
    found = np.asarray(segment(image, replace(options, fill_holes=False))[0])
    expected = found.copy()
    for number in range(found.max(), 0, -1):  # the smallest number wins
        expected[ndimage.binary_fill_holes(found == number) & (found == 0)] = number
    whole, sums = segment(image, options)
    np.testing.assert_array_equal(whole, expected)
    assert (expected != found).any()
    assert sums.voxels[1:].tolist() == np.bincount(expected.ravel())[1:].tolist()
    for block in ((5, 9, 70), (13, 16, 16), (4, 64, 11)):
        parts, added = segment(image, options, block=block[-ndim:])
        np.testing.assert_array_equal(parts, expected)
        for name, column in sums.table(None).items():
            np.testing.assert_allclose(added.table(None)[name], column, atol=1e-3)


@pytest.mark.parametrize("border, left", [("none", 3), ("xy", 2), ("all", 1)])
def test_objects_at_the_border_are_removed_if_asked(border: str, left: int) -> None:
    mask = np.zeros((20, 60, 60), bool)
    for corner in ((5, 5, 0), (0, 25, 25), (8, 45, 45)):
        mask[tuple(slice(c, c + 6) for c in corner)] = True
    assert labels_of(mask, border=border).max() == left


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_distance_and_complement_of_contour_are_averaged(dtype: type) -> None:
    rng = np.random.default_rng(2)
    distance, contour = rng.integers(0, 256, (2, 9, 12)) / 255
    full = 255 if dtype is np.uint8 else 1
    maps = [np.asarray(full * one, dtype) for one in (distance, contour)]
    found = log_distance_map(
        np.ones((9, 12), bool), InstanceSettings(seed_smoothing=0), (1.0, 1.0), *maps
    )
    expected = 4096 * np.log1p(8 * (distance + 1 - contour) / 2)
    np.testing.assert_allclose(found, expected, atol=0.51)


def crowded(shape: tuple[int, ...], count: int, seed: int) -> np.ndarray:
    """Return a noisy probability map of touching balls with soft borders."""
    rng = np.random.default_rng(seed)
    points = np.zeros(shape)
    points[tuple(rng.integers(0, n, count) for n in shape)] = 1
    steps = (2.0, 1.0, 1.0)[-len(shape) :]
    near = ndimage.distance_transform_edt(points == 0, sampling=steps)
    soft = np.clip((8 - near) / 4 + 0.5 + rng.normal(0, 0.05, shape), 0, 1)
    return np.rint(soft * 255).astype(np.uint8)


@pytest.mark.parametrize(
    "shape, block",
    [
        ((30, 70, 80), (7, 80, 80)),
        ((30, 70, 80), (11, 23, 31)),
        ((30, 70, 80), (30, 16, 80)),
        ((150, 170), (40, 33)),
    ],
)
@pytest.mark.parametrize("count", [0, 1, 2], ids=["computed", "distance", "distance and contour"])
def test_blocks_give_the_objects_of_the_whole_volume(
    shape: tuple, block: tuple, count: int
) -> None:
    probability = crowded(shape, 60, 3)
    maps = {n: crowded(shape, 90, s) for n, s in [("distance", 4), ("contour", 5)][:count]}
    options = InstanceSettings(0.4, smoothing=0.7, seed_smoothing=1.3, min_depth=0.1, min_voxels=20)
    whole, sums = segment(probability, options, (2.0, 1.0, 1.0), **maps)
    parts, added = segment(probability, options, (2.0, 1.0, 1.0), block=block, **maps)
    assert np.asarray(whole).max() > 10
    np.testing.assert_array_equal(whole, parts)  # including the labels
    for name, column in sums.table((2.0, 1.0, 1.0)).items():
        np.testing.assert_allclose(added.table((2.0, 1.0, 1.0))[name], column, atol=1e-3)


@pytest.mark.realdata
@pytest.mark.parametrize("stack", ["Emb02_t451", "Emb09_t501"])
def test_blocks_give_the_nuclei_of_a_whole_real_stack(real_data: Path, stack: str) -> None:
    truth = tifffile.imread(real_data / f"bbbc050/labels/{stack}.tif")
    soft = ndimage.gaussian_filter((truth > 0).astype(np.float32), 1)  # nuclei merge
    probability = np.rint(soft * 255).astype(np.uint8)
    options, spacing = InstanceSettings(0.4, min_voxels=30), (1.75, 0.8, 0.8)
    whole, _ = segment(probability, options, spacing)
    assert np.asarray(whole).max() > 8
    for block in ((13, 40, 40), (51, 17, 122)):
        np.testing.assert_array_equal(whole, segment(probability, options, spacing, block=block)[0])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 9), st.integers(2, 9), st.floats(0, 0.6))
def test_any_block_size_gives_the_same_objects_of_noise(
    seed: int, high: int, wide: int, depth: float
) -> None:
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.random((24, 26)), 1.2)
    levels = np.rint((noise - noise.min()) / np.ptp(noise) * 255).astype(np.uint8)
    options = InstanceSettings(0.45, seed_smoothing=0.5, min_depth=depth)
    whole, _ = segment(levels, options)
    np.testing.assert_array_equal(whole, segment(levels, options, block=(high, wide))[0])


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60))
@example(332, 2)
def test_regions_equal_those_of_h_maxima(seed: int, h: int) -> None:
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.random((20, 22)), 1.5)
    levels = np.rint((smooth - smooth.min()) / np.ptp(smooth) * 200).astype(np.int32)
    mask = levels > 60
    levels[~mask] = 0
    window = tuple(slice(0, n) for n in levels.shape)
    blocks = Blocks(levels.shape, levels.shape)
    roots, positions, exits = steepest_ascent(levels, mask, window, window, levels.shape)
    maximum = follow_exits(roots, blocks, exits)
    positions = np.concatenate([[-1], positions])
    values = np.where(positions < 0, 0, levels.ravel()[positions]).astype(np.int32)
    pairs, saddles = find_saddles(roots, levels, blocks, maximum)
    regions = merge_shallow_regions(pairs, saddles, values, positions, h)[maximum][roots]
    # by reconstruction: scikit-image's h_maxima counts two equal maxima of one dome twice
    domes = reconstruction(levels - (h - 0.5), levels, footprint=np.ones((3, 3)))
    seeds, _ = ndimage.label(local_maxima(domes, connectivity=2) & mask, np.ones((3, 3)))
    flooded = watershed(-levels, seeds, mask=mask, connectivity=2)
    found = {n for n in np.unique(regions) if n}
    # h_maxima has no seed in a component whose maximum is not higher than h
    lower = [n for n in found if not flooded[regions == n].any()]
    assert len(found) - len(lower) == flooded.max()
    for number in found - set(lower):
        top = np.unravel_index(positions[number], levels.shape)
        assert flooded[top] > 0  # each region has a seed
    tops = [flooded[np.unravel_index(positions[n], levels.shape)] for n in found - set(lower)]
    assert len(set(tops)) == len(tops)


def test_the_object_table_equals_regionprops(tmp_path: Path) -> None:
    probability = crowded((20, 50, 60), 25, 1)
    labels, sums = segment(probability, InstanceSettings(0.5, min_voxels=20), (2.0, 1.0, 1.0))
    table = sums.table((2.0, 0.5, 0.5))
    regions = regionprops(np.asarray(labels), probability / np.float32(255))
    assert len(regions) == len(table["label"]) > 5
    for row, one in enumerate(regions):
        assert table["label"][row] == one.label and table["voxels"][row] == one.area
        assert table["um3"][row] == pytest.approx(one.area * 0.5)
        centre = [table[a][row] for a in "zyx"]
        np.testing.assert_allclose(centre, one.centroid, atol=1e-3)
        low, high = one.bbox[:3], one.bbox[3:]
        assert [table[f"{a}_min"][row] for a in "zyx"] == list(low)
        assert [table[f"{a}_max"][row] + 1 for a in "zyx"] == list(high)
        assert table["probability"][row] == pytest.approx(one.mean_intensity, abs=1e-4)
        touches = min(low) == 0 or any(h == n for h, n in zip(high, labels.shape, strict=True))
        assert table["touches_border"][row] == touches
    write_table(tmp_path / "t.csv", table)
    lines = (tmp_path / "t.csv").read_text().splitlines()
    assert lines[0].startswith("label,z,y,x,voxels,um3,z_min") and len(lines) == len(regions) + 1
