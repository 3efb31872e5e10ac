"""Objects from a map: parted where they are thin, the same whatever the blocks."""

from __future__ import annotations

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


def labels_of(mask: np.ndarray, spacing: tuple | None = None, **rule: float) -> np.ndarray:
    rule = {"min_voxels": 30 if mask.ndim == 3 else 10, **rule}
    return np.asarray(segment(mask.astype(np.uint8) * 255, InstanceSettings(**rule), spacing)[0])


def test_two_touching_balls_are_two_objects_and_one_is_one() -> None:
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
    # 24 um high blocks, joined by a bridge as high, but 14 um wide
    blocks = np.zeros((10, 40, 82), bool)
    blocks[2:8, 8:32, 8:32] = blocks[2:8, 8:32, 50:74] = blocks[2:8, 13:27, 32:50] = True
    assert labels_of(blocks, (4.0, 1.0, 1.0)).max() == 2
    assert labels_of(blocks).max() == 1  # of cubes it would be as deep anywhere


def test_two_dimensions() -> None:
    assert labels_of(ball((40, 60), (20, 20), 10) | ball((40, 60), (20, 37), 10)).max() == 2


def test_empty_full_and_tiny() -> None:
    assert labels_of(np.zeros((5, 9, 9), bool)).max() == 0
    assert labels_of(np.ones((5, 9, 9), bool)).max() == 1
    cube = np.zeros((9, 20, 20), bool)
    cube[2:6, 2:6, 2:6] = True  # 64 voxels
    assert labels_of(cube, min_voxels=64).max() == 1
    assert labels_of(cube, min_voxels=65).max() == 0
    assert labels_of(cube, max_voxels=63).max() == 0


def test_more_than_255_objects_fit() -> None:
    mask = np.zeros((4, 170, 170), bool)
    for y in range(0, 168, 8):
        for x in range(0, 168, 8):
            mask[:, y : y + 4, x : x + 4] = True
    labels = labels_of(mask)
    assert labels.max() == 441 and labels.dtype == np.uint16


def test_holes_are_filled_by_the_object_around_them_only() -> None:
    mask = ball((40, 90), (20, 20), 14) | ball((40, 90), (20, 65), 14)
    mask[18:22, 18:22] = False
    mask[17:24, 62:69] = False
    mask[19:22, 64:67] = True  # an object in the hole of another one
    labels = labels_of(mask, min_voxels=1)
    assert labels[20, 20] == labels[20, 12] > 0
    assert labels[20, 65] not in (0, labels[20, 55])
    assert labels[18, 63] == labels[20, 55]
    assert labels_of(mask, min_voxels=1, fill_holes=False)[20, 20] == 0


@pytest.mark.parametrize("border, left", [("none", 3), ("xy", 2), ("all", 1)])
def test_objects_at_the_border_are_dropped_where_asked(border: str, left: int) -> None:
    mask = np.zeros((20, 60, 60), bool)
    for corner in ((5, 5, 0), (0, 25, 25), (8, 45, 45)):
        mask[tuple(slice(c, c + 6) for c in corner)] = True
    assert labels_of(mask, border=border).max() == left


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_depth_and_a_contour_are_two_opinions_of_equal_weight(dtype: type) -> None:
    rng = np.random.default_rng(2)
    depth, contour = rng.integers(0, 256, (2, 9, 12)) / 255
    full = 255 if dtype is np.uint8 else 1
    maps = [np.asarray(full * one, dtype) for one in (depth, contour)]
    found = log_distance_map(
        np.ones((9, 12), bool), InstanceSettings(seed_smoothing=0), (1.0, 1.0), *maps
    )
    expected = 4096 * np.log1p(8 * (depth + 1 - contour) / 2)
    np.testing.assert_allclose(found, expected, atol=0.51)


def crowded(shape: tuple[int, ...], count: int, seed: int) -> np.ndarray:
    """Return a probability map of balls that touch, with soft sides and noise."""
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
@pytest.mark.parametrize("told", [0, 1, 2], ids=["distance", "depth", "depth and contour"])
def test_blocks_give_the_objects_of_the_whole(shape: tuple, block: tuple, told: int) -> None:
    probability = crowded(shape, 60, 3)
    maps = {n: crowded(shape, 90, s) for n, s in [("distance", 4), ("contour", 5)][:told]}
    rule = InstanceSettings(0.4, smoothing=0.7, seed_smoothing=1.3, min_depth=0.1, min_voxels=20)
    whole, sums = segment(probability, rule, (2.0, 1.0, 1.0), **maps)
    parts, added = segment(probability, rule, (2.0, 1.0, 1.0), block=block, **maps)
    assert np.asarray(whole).max() > 10
    np.testing.assert_array_equal(whole, parts)  # the numbers too
    for name, column in sums.table((2.0, 1.0, 1.0)).items():
        np.testing.assert_allclose(added.table((2.0, 1.0, 1.0))[name], column, atol=1e-3)


@pytest.mark.realdata
@pytest.mark.parametrize("stack", ["Emb02_t451", "Emb09_t501"])
def test_blocks_that_cut_many_nuclei_of_a_real_stack(real_data: Path, stack: str) -> None:
    truth = tifffile.imread(real_data / f"bbbc050/labels/{stack}.tif")
    soft = ndimage.gaussian_filter((truth > 0).astype(np.float32), 1)  # nuclei grow together
    probability = np.rint(soft * 255).astype(np.uint8)
    rule, spacing = InstanceSettings(0.4, min_voxels=30), (1.75, 0.8, 0.8)
    whole, _ = segment(probability, rule, spacing)
    assert np.asarray(whole).max() > 8
    for block in ((13, 40, 40), (51, 17, 122)):
        np.testing.assert_array_equal(whole, segment(probability, rule, spacing, block=block)[0])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 9), st.integers(2, 9), st.floats(0, 0.6))
def test_any_blocks_of_any_noise(seed: int, high: int, wide: int, depth: float) -> None:
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.random((24, 26)), 1.2)
    levels = np.rint((noise - noise.min()) / np.ptp(noise) * 255).astype(np.uint8)
    rule = InstanceSettings(0.45, seed_smoothing=0.5, min_depth=depth)
    whole, _ = segment(levels, rule)
    np.testing.assert_array_equal(whole, segment(levels, rule, block=(high, wide))[0])


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60))
@example(332, 2)
def test_basins_are_those_of_h_maxima(seed: int, fall: int) -> None:
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.random((20, 22)), 1.5)
    heights = np.rint((smooth - smooth.min()) / np.ptp(smooth) * 200).astype(np.int32)
    mask = heights > 60
    heights[~mask] = 0
    window = tuple(slice(0, n) for n in heights.shape)
    blocks = Blocks(heights.shape, heights.shape)
    ends, places, onward = steepest_ascent(heights, mask, window, window, heights.shape)
    leading = follow_exits(ends, blocks, onward)
    places = np.concatenate([[-1], places])
    peaks = np.where(places < 0, 0, heights.ravel()[places]).astype(np.int32)
    pairs, passes = find_saddles(ends, heights, blocks, leading)
    basins = merge_shallow_regions(pairs, passes, peaks, places, fall)[leading][ends]
    # by reconstruction: scikit-image's h_maxima counts two equal peaks of one dome twice
    domes = reconstruction(heights - (fall - 0.5), heights, footprint=np.ones((3, 3)))
    seeds, _ = ndimage.label(local_maxima(domes, connectivity=2) & mask, np.ones((3, 3)))
    flooded = watershed(-heights, seeds, mask=mask, connectivity=2)
    found = {n for n in np.unique(basins) if n}
    lower = [  # a piece whose peak is no higher than the fall is no maximum for h_maxima
        n for n in found if not flooded[basins == n].any()
    ]
    assert len(found) - len(lower) == flooded.max()
    for number in found - set(lower):
        peak = np.unravel_index(places[number], heights.shape)
        assert flooded[peak] > 0  # each has a seed of its own
    tops = [flooded[np.unravel_index(places[n], heights.shape)] for n in found - set(lower)]
    assert len(set(tops)) == len(tops)


def test_the_table_measures_as_scikit_image_does(tmp_path: Path) -> None:
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
