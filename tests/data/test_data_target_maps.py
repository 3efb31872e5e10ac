"""Target maps against brute force: anisotropic, touching and cut objects, in 2D and 3D."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cytoloop.data.augmentation import Augmentation, Warp
from cytoloop.data.cached_image import CachedImage
from cytoloop.data.dataset import PatchDataset, WholeImages
from cytoloop.data.patch_centres import object_points
from cytoloop.data.patch_schedule import PatchSchedule
from cytoloop.data.patches import target_channels, warped_patch
from cytoloop.data.settings import SamplingSettings
from cytoloop.data.target_maps import contour_map, distance_map, fill_excluded


def brute_distance(labels: np.ndarray, sides: tuple[float, ...]) -> np.ndarray:
    """Return the distance to the nearest voxel of another label, over the object's maximum."""
    points = np.stack(np.indices(labels.shape), -1).reshape(-1, labels.ndim) * np.asarray(sides)
    flat = labels.ravel()
    distance = np.zeros(len(flat))
    for number in np.unique(flat[flat > 0]):
        own, other = points[flat == number], points[flat != number]
        if len(other):
            found = np.sqrt(((own[:, None] - other[None]) ** 2).sum(-1)).min(1)
        else:
            found = np.ones(len(own))
        distance[flat == number] = found / found.max()
    return distance.reshape(labels.shape)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([(9, 11), (5, 7, 8), (1, 6, 7)]))
def test_distance_map_equals_brute_force(seed: int, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint16)
    for number in (1, 2, 5, 9):  # boxes that touch, overlap and reach over the border
        corner = [rng.integers(-2, n) for n in shape]
        size = [rng.integers(2, 6) for _ in shape]
        box = [slice(max(c, 0), max(c + s, 0)) for c, s in zip(corner, size, strict=True)]
        labels[tuple(box)] = number
    sides = (2.5, 0.5, 1.0)[-len(shape) :]
    found = distance_map(labels, (2.5, 0.5, 1.0))
    np.testing.assert_allclose(found / 255, brute_distance(labels, sides), atol=0.0021)
    assert (found[labels == 0] == 0).all() and (found[labels > 0] > 0).all()


def test_distance_is_1_in_an_object_that_fills_the_image() -> None:
    assert (distance_map(np.ones((4, 5, 6), np.uint8)) == 255).all()


def test_contour_map_is_high_on_the_border_of_each_object() -> None:
    labels = np.zeros((2, 24, 24), np.uint8)
    labels[:, 4:20, 4:12], labels[:, 4:20, 12:20] = 1, 2
    contour = contour_map(labels)
    line = contour[0, 12]
    assert line[4] > 230 and line[8] < 40 and line[0] < 5
    assert line[11] == line[12] == 255  # two adjacent contours, clipped at 1
    np.testing.assert_array_equal(contour[0], contour[1])


def brute_contour(labels: np.ndarray) -> np.ndarray:
    """Return the pixels beside another label, blurred and normalised plane by plane."""
    steps = np.arange(-4, 5)
    kernel = np.exp(-(steps**2) / 2)
    kernel /= kernel.sum()
    spread = kernel[:, None] * kernel
    out = np.zeros(labels.shape)
    for plane, found in zip(labels.reshape(-1, *labels.shape[-2:]),
                            out.reshape(-1, *labels.shape[-2:]), strict=True):  # fmt: skip
        edge = np.zeros(plane.shape)
        for y, x in np.argwhere(plane > 0):
            beside = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            inside = [(a, b) for a, b in beside if 0 <= a < len(plane) and 0 <= b < plane.shape[1]]
            edge[y, x] = any(plane[one] != plane[y, x] for one in inside)
        wide = np.pad(edge, 4, mode="symmetric")  # scipy's "reflect"
        for y, x in np.ndindex(*plane.shape):
            found[y, x] = (wide[y : y + 9, x : x + 9] * spread).sum()
    return np.clip(out * np.sqrt(2 * np.pi), 0, 1)


@pytest.mark.parametrize("shape", [(21, 26), (3, 18, 22)])
def test_contour_map_equals_brute_force(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(len(shape))
    labels = np.zeros(shape, np.uint16)
    for number in (1, 2, 5, 700, 9):  # boxes that touch, overlap and reach over the border
        corner = [rng.integers(-2, n - 3) for n in shape]
        box = tuple(slice(max(c, 0), c + rng.integers(4, 9)) for c in corner)
        labels[box] = number
    found = contour_map(labels, (3.0, 1.0, 1.0))
    assert len(np.unique(labels)) > 3 and found.max() > 200
    np.testing.assert_allclose(found / 255, brute_contour(labels), atol=0.0021)


@pytest.mark.parametrize("factor", [1 / 3, 0.5, 2.0, 3.0])
@pytest.mark.parametrize("planes", [0, 4])
def test_a_contour_is_one_pixel_wide_at_any_zoom(planes: int, factor: float) -> None:
    plane = np.kron(np.arange(1, 26, dtype=np.uint8).reshape(5, 5), np.ones((24, 24), np.uint8))
    plane[:, 50:60] = 0
    labels = np.broadcast_to(plane, (planes, *plane.shape)).copy() if planes else plane
    cached = image_of(labels)
    warp = Warp(labels.ndim, True, np.ones(labels.ndim), matrix=np.eye(2) * factor, flips=[0])
    size = [planes, 20, 30][-labels.ndim :]
    centre = np.array([max(planes - 1, 0) / 2, 60.3, 57.2][-labels.ndim :])
    intensity = (np.zeros(1, np.float32), np.ones(1, np.float32))
    maps = {"contour": cached.target_map("contour")}
    _, moved, _, found = warped_patch(cached, intensity, warp, centre, size, maps)

    def sampled(margin: int) -> np.ndarray:
        """Return the labels after the zoom, with a margin around the patch."""
        rows, columns = (
            np.rint(c + factor * (np.arange(-margin, n + margin) - (n - 1) / 2)).astype(int)
            for c, n in zip(centre[-2:], size[-2:], strict=True)
        )
        taken = plane[np.ix_(rows.clip(0, 119), columns.clip(0, 119))]
        return np.flip(np.broadcast_to(taken, (*size[:-2], *taken.shape)), 0)

    np.testing.assert_array_equal(moved, sampled(0))
    wanted = contour_map(sampled(9))[..., 9:-9, 9:-9]
    assert wanted.max() == 255
    np.testing.assert_array_equal(found["contour"], wanted)


def test_excluded_voxels_do_not_influence_a_recomputed_contour_map() -> None:
    labels = np.kron(np.arange(1, 10, dtype=np.uint8).reshape(3, 3), np.ones((20, 20), np.uint8))
    valid = np.ones(labels.shape, bool)
    valid[25:35] = False
    noise = np.random.default_rng(0).integers(0, 9, labels.shape).astype(np.uint8)
    warp = Warp(2, True, np.ones(2), matrix=np.eye(2) * 0.7)
    intensity = (np.zeros(1, np.float32), np.ones(1, np.float32))
    found = []
    for each in (labels, np.where(valid, labels, noise)):
        cached = replace(image_of(each), image=labels[None].astype(np.float32), valid=valid)
        maps = {"contour": cached.target_map("contour")}
        found.append(warped_patch(cached, intensity, warp, np.array([30.0, 30]), [40, 40], maps))
    np.testing.assert_array_equal(found[0][2], found[1][2])
    np.testing.assert_array_equal(found[0][3]["contour"], found[1][3]["contour"])


def image_of(labels: np.ndarray, folder: Path | None = None) -> CachedImage:
    points, starts = object_points(labels, np.ones(labels.shape, bool))
    image = labels[None].astype(np.float32)
    valid = np.broadcast_to(np.True_, labels.shape)
    return CachedImage(
        "a", image, labels, valid, points, starts, spacing_um=(2.0, 1, 1), folder=folder
    )


def test_a_patch_that_cuts_an_object_has_the_distances_of_the_whole_object(tmp_path: Path) -> None:
    labels = np.zeros((16, 40, 40), np.uint8)
    labels[4:12, 8:32, 8:32] = 7
    cached = image_of(labels, tmp_path)
    intensity = (np.zeros(1, np.float32), np.ones(1, np.float32))
    size = [8, 16, 16]
    settings = SamplingSettings(size, 1, 4, 4, foreground_fraction=1.0)
    schedule = PatchSchedule([labels.shape], settings)
    heads = ("foreground", "distance")
    patches = PatchDataset([cached], [intensity], schedule, Augmentation(), heads)
    whole = distance_map(labels, cached.spacing_um)
    windows = np.lib.stride_tricks.sliding_window_view(whole, size)
    for number in range(4):
        distance = np.rint(patches[(0, number)]["target"][1].numpy() * 255).astype(np.uint8)
        assert (windows == distance).all((3, 4, 5)).any()
    image = WholeImages([cached], {"method": "none"}, ("foreground", "distance"))[0]
    np.testing.assert_array_equal(np.rint(image["target"][1].numpy() * 255), whole)
    np.testing.assert_array_equal(image["labels"].numpy(), labels > 0)  # instance labels are 1..N


def test_excluded_voxels_do_not_decide_whether_a_segmentation_is_binary() -> None:
    labels = np.zeros((12, 30), np.uint8)
    labels[2:8, 2:10], labels[2:8, 14:20] = 255, 255
    valid = np.ones(labels.shape, bool)
    valid[:, 24:] = False
    labels[4:6, 26:28] = 9
    cached = replace(image_of(labels), valid=valid)
    sample = WholeImages([cached], {"method": "none"})[0]
    instances = sample["labels"].numpy()
    assert instances[4, 4] != instances[4, 16] and instances[valid].max() == 2
    assert sample["spacing_um"].tolist() == [2, 1, 1]
    unknown = WholeImages([replace(cached, spacing_um=None)], {"method": "none"})[0]
    assert unknown["spacing_um"].isnan().all()


def test_heads_are_channels_in_their_order() -> None:
    labels = np.array([[0, 3], [2, 0]], np.uint16)
    distance = np.array([[0, 255], [51, 0]], np.uint8)
    target = target_channels(("distance", "foreground"), labels, {"distance": distance})
    np.testing.assert_allclose(target, [[[0, 1], [0.2, 0]], [[0, 1], [1, 0]]])
    assert target.dtype == np.float32


def test_a_map_is_computed_once_and_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.zeros((8, 12, 12), np.uint8)
    labels[2:6, 3:9, 3:9] = 1
    first = np.array(image_of(labels, tmp_path).target_map("distance"))
    monkeypatch.setattr("cytoloop.data.cached_image.TARGET_MAPS", {})  # cannot be computed again
    np.testing.assert_array_equal(image_of(labels, tmp_path).target_map("distance"), first)


def test_labels_of_excluded_voxels_do_not_change_distances_outside() -> None:
    rng = np.random.default_rng(0)
    labels = np.zeros((20, 40), np.uint8)
    labels[4:16, 5:30] = 3
    valid = np.ones(labels.shape, bool)
    valid[:, 18:26] = False
    other = np.where(valid, labels, rng.integers(0, 9, labels.shape)).astype(np.uint8)
    one, two = (distance_map(fill_excluded(each, valid)) for each in (labels, other))
    np.testing.assert_array_equal(one, two)
    assert (one[10, 14:18] >= 200).all()  # the object continues in the excluded region
    nothing = np.zeros_like(valid)
    np.testing.assert_array_equal(fill_excluded(labels, nothing), labels)


def test_labels_may_be_sparse_and_large() -> None:
    labels = np.zeros((20, 30), np.uint32)
    labels[2:10, 2:10], labels[2:10, 10:22] = 4_000_000_000, 7
    small = np.select([labels == 7, labels > 7], [1, 2]).astype(np.uint8)
    np.testing.assert_array_equal(distance_map(labels), distance_map(small))
    sample = WholeImages([image_of(labels)], {"method": "none"})[0]
    assert sorted(np.unique(sample["labels"].numpy())) == [0, 1, 2]


def test_components_of_a_binary_segmentation_are_objects(tmp_path: Path) -> None:
    mask = np.zeros((20, 40), np.uint8)
    mask[4:8, 3:7] = mask[2:18, 15:35] = 255  # a small and a large component
    distance = image_of(mask, tmp_path).target_map("distance")
    assert distance[4:8, 3:7].max() == distance[2:18, 15:35].max() == 255
    sample = WholeImages([image_of(mask)], {"method": "none"})[0]
    assert sample["labels"].max() == 2


def test_fill_excluded_takes_the_nearest_label_in_physical_units() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(1, 200, (5, 9, 10)).astype(np.uint8)
    valid = rng.random(labels.shape) < 0.15
    sides = np.array([5.0, 0.5, 0.7])
    found = fill_excluded(labels, valid, tuple(sides))
    points = np.argwhere(valid)
    for voxel in np.argwhere(~valid):
        away = np.sqrt((((points - voxel) * sides) ** 2).sum(1))
        nearest = labels[tuple(points[away <= away.min() + 1e-9].T)]
        assert found[tuple(voxel)] in nearest
    np.testing.assert_array_equal(found[valid], labels[valid])
