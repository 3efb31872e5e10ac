"""Stitching: unedited labels are returned; each edit is taken once, from the owning crop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cytoloop.curation.crops import tiles
from cytoloop.curation.crops.crops_table import CropPlane, CutImage
from cytoloop.curation.crops.stitch import stitch_image
from cytoloop.curation.crops.tiles import find_anchor, plan_crops
from cytoloop.curation.exchange.annotation.picture import Picture

Pictures = dict[str, Picture]


def cut(
    labels: np.ndarray, objects_per_crop: int = 3, min_size: int = 6
) -> tuple[CutImage, Pictures]:
    """Return the crops of a label image and their pictures."""
    stack = labels.reshape((-1, *labels.shape[-2:])).astype(np.uint32)
    planes, pictures = [], {}
    for k, crop in enumerate(plan_crops(stack, objects_per_crop, min_size)):
        for z, plane in enumerate(stack):
            part = plane[crop.box.slices].copy()
            seen = frozenset(part[part > 0].tolist())
            name, number = f"p{k}_{z}", z if labels.ndim == 3 else None
            owned, wide = seen & crop.owned, seen & crop.wide
            planes.append(CropPlane(name, number, crop.core, crop.box, seen, owned, wide))
            pictures[name] = Picture(name, part)
    return CutImage("a", Path(), "", labels.shape, None, tuple(planes)), pictures


def stitch(image: CutImage, pictures: Pictures, all_finished: bool = True) -> np.ndarray:
    return stitch_image(image, pictures, exclude_unfinished=False, all_finished=all_finished)[0]


def draw(
    image: CutImage, pictures: Pictures, k: int, y: slice, x: slice, number: int, new: bool = False
) -> None:
    """Paint a rectangle, in pixels of the whole image, into the k-th picture."""
    plane = image.planes[k]
    box, one = plane.box, pictures[plane.picture]
    one.labels[y.start - box.y0 : y.stop - box.y0, x.start - box.x0 : x.stop - box.x0] = number
    if new:
        new_labels = one.new_labels | {number}
        pictures[plane.picture] = Picture(one.name, one.labels, new_labels=new_labels)


def row_of_cells() -> np.ndarray:
    """Return labels (40, 160) with 8 x 8 cells; two are on borders of cores (x = 40, 80, 120)."""
    labels = np.zeros((40, 160), np.uint16)
    for number, x in enumerate((4, 20, 38, 50, 66, 75, 88, 104, 128, 145), start=1):
        labels[12:20, x : x + 8] = number
    return labels


@st.composite
def label_images(draw_from: st.DrawFn) -> np.ndarray:
    """Draw label images with small, large, connected and fragmented objects, and empty parts."""
    flat = draw_from(st.booleans())
    shape = (
        *(() if flat else (3,)),
        draw_from(st.integers(20, 70)),
        draw_from(st.integers(20, 70)),
    )
    labels = np.zeros(shape, np.uint32)
    rng = np.random.default_rng(draw_from(st.integers(0, 2**32 - 1)))
    for number in rng.permutation(np.arange(1, 400))[: draw_from(st.integers(0, 25))]:
        size = rng.integers(1, 30 if rng.random() < 0.2 else 10, len(shape))
        low = [rng.integers(0, n) for n in shape]
        where = tuple(slice(a, a + s) for a, s in zip(low, size, strict=True))
        labels[where] = number
    return labels


@settings(max_examples=60, deadline=None)
@given(label_images(), st.integers(1, 6), st.integers(1, 20), st.sampled_from([(2, 4), (8, 64)]))
@example(np.ones((60, 60), np.uint8), 1, 8, (2, 4))
@example(np.zeros((3, 30, 30), np.uint8), 1, 8, (2, 4))
def test_unedited_labels_are_returned(
    labels: np.ndarray, objects_per_crop: int, min_size: int, margins: tuple[int, int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "_MARGINS", margins)  # small margins: objects cross many crops
        image, pictures = cut(labels, objects_per_crop, min_size)
    for all_finished in (True, False):
        assert np.array_equal(stitch(image, pictures, all_finished), labels)


def test_object_wider_than_the_margin_keeps_its_number() -> None:
    labels = row_of_cells()
    labels[30:34, 2:158] = 77  # crosses every crop
    image, pictures = cut(labels.repeat(2, axis=0), 3, 6)
    assert len({plane.core for plane in image.planes}) > 3
    assert np.array_equal(stitch(image, pictures), labels.repeat(2, axis=0))


def owner_of(image: CutImage, number: int) -> int:
    return next(k for k, plane in enumerate(image.planes) if number in plane.owned)


@pytest.mark.parametrize("number", range(1, 11))
def test_edit_in_the_owning_crop_changes_only_this_object(number: int) -> None:
    labels = row_of_cells()
    image, pictures = cut(labels)
    x = int(np.argwhere(labels == number)[0][1])
    draw(image, pictures, owner_of(image, number), slice(20, 25), slice(x, x + 5), number)
    expected = labels.copy()
    expected[20:25, x : x + 5] = number
    assert np.array_equal(stitch(image, pictures), expected)


def test_object_moved_out_of_the_core_is_kept() -> None:
    labels = row_of_cells()
    image, pictures = cut(labels)
    k = owner_of(image, 3)
    border = image.planes[k].core.x1
    pictures[image.planes[k].picture].labels[pictures[image.planes[k].picture].labels == 3] = 0
    draw(image, pictures, k, slice(12, 20), slice(border + 1, border + 5), 3)
    assert np.array_equal(
        np.unique(np.argwhere(stitch(image, pictures) == 3)[:, 1]), border + 1 + np.arange(4)
    )


@pytest.mark.parametrize("number", range(1, 11))
def test_object_deleted_in_the_owning_crop_is_removed(number: int) -> None:
    labels = row_of_cells()
    image, pictures = cut(labels)
    found = pictures[image.planes[owner_of(image, number)].picture].labels
    found[found == number] = 0
    assert np.array_equal(stitch(image, pictures), np.where(labels == number, 0, labels))


def test_edits_in_margins_are_ignored() -> None:
    labels = row_of_cells()
    image, pictures = cut(labels)
    for plane in image.planes:
        found = pictures[plane.picture].labels
        found[np.isin(found, list(plane.seen - plane.owned))] = 0
    assert np.array_equal(stitch(image, pictures), labels)


@pytest.mark.parametrize("shift", [-3, -2, -1, 0, 1, 2])
@pytest.mark.parametrize("slip", [-1, 0, 1])
def test_object_drawn_in_two_crops_is_counted_once(shift: int, slip: int) -> None:
    image, pictures = cut(row_of_cells())
    border = image.planes[0].core.x1
    x = border + shift - 2
    draw(image, pictures, 0, slice(26, 32), slice(x, x + 5), 500, new=True)
    draw(image, pictures, 1, slice(26, 32), slice(x + slip, x + slip + 5), 900, new=True)
    numbers, counts = np.unique(stitch(image, pictures)[26:32], return_counts=True)
    assert len(numbers) == 2 and numbers[1] == 11 and counts[1] == 30


def test_object_drawn_only_in_a_margin_is_ignored() -> None:
    image, pictures = cut(row_of_cells())
    border = image.planes[0].core.x1
    draw(image, pictures, 0, slice(26, 32), slice(border + 1, border + 5), 500, new=True)
    assert not stitch(image, pictures)[26:32].any()


def test_number_chosen_in_two_crops_makes_two_objects() -> None:
    image, pictures = cut(row_of_cells())
    for k in (0, 1):  # label editors take the next free number; 10 is in the last crop
        x = image.planes[k].core.x0 + 12
        draw(image, pictures, k, slice(26, 32), slice(x, x + 5), 10)
    found = stitch(image, pictures)
    assert np.array_equal(found[:26], row_of_cells()[:26])
    assert set(np.unique(found[26:])) == {0, 11, 12}


def test_earlier_crop_wins_and_finished_crops_win_over_unfinished() -> None:
    labels = row_of_cells()
    image, pictures = cut(labels)
    border = image.planes[0].core.x1
    draw(image, pictures, 0, slice(26, 32), slice(border - 7, border + 2), 500, new=True)
    draw(image, pictures, 1, slice(26, 32), slice(border - 1, border + 9), 500, new=True)
    assert (stitch(image, pictures)[26:32, border - 7 : border + 2] == 11).all()
    pictures["p1_0"] = Picture(
        "p1_0", pictures["p1_0"].labels, done=True, new_labels=frozenset({500})
    )
    found = stitch(image, pictures, all_finished=False)
    assert (found[26:32, border - 1 : border + 9] == 12).all()


def test_object_drawn_beyond_its_crop_is_continued_in_the_next() -> None:
    labels = row_of_cells()
    image, pictures = cut(labels)
    edge = image.planes[0].box.x1
    x = int(np.argwhere(labels == 2)[0][1])
    draw(image, pictures, 0, slice(20, 24), slice(x, edge), 2)
    draw(image, pictures, 1, slice(20, 24), slice(edge - 4, edge + 6), 2)
    plane = image.planes[1]
    image = CutImage(
        "a",
        Path(),
        "",
        labels.shape,
        None,
        (
            image.planes[0],
            CropPlane(
                plane.picture,
                None,
                plane.core,
                plane.box,
                plane.seen | {2},
                plane.owned,
                plane.wide,
            ),
            *image.planes[2:],
        ),
    )
    assert (stitch(image, pictures)[20:24, x : edge + 6] == 2).all()


def test_unfinished_pictures_are_kept_or_excluded_and_returned_as_unseen() -> None:
    labels = row_of_cells()
    image, pictures = cut(labels)
    pictures["p1_0"] = Picture("p1_0", pictures["p1_0"].labels, done=True)
    kept, unseen = stitch_image(image, pictures, exclude_unfinished=False, all_finished=False)
    assert np.array_equal(kept, labels)
    mine = np.isin(labels, list(image.planes[1].owned))
    core = np.zeros(labels.shape, bool)
    core[image.planes[1].core.slices] = True
    others = (labels > 0) & ~mine
    assert np.array_equal(unseen, (~core & ~mine) | others)
    left, same = stitch_image(image, pictures, exclude_unfinished=True, all_finished=False)
    assert np.array_equal(left, np.where(mine, labels, 0)) and np.array_equal(same, unseen)
    assert not stitch_image(image, pictures, exclude_unfinished=True, all_finished=True)[1].any()


def stack_of_two() -> np.ndarray:
    labels = np.zeros((6, 24, 30), np.uint8)
    labels[1:5, 4:10, 4:10] = 1
    labels[2:4, 14:20, 14:20] = 2
    return labels


def plane(pictures: Pictures, z: int, mask: np.ndarray, number: int, new: bool) -> None:
    one = pictures[f"p0_{z}"]
    one.labels[mask] = number
    pictures[one.name] = Picture(
        one.name, one.labels, new_labels=frozenset({number} if new else ())
    )


def test_new_parts_in_neighbouring_planes_become_one_object() -> None:
    labels = stack_of_two()
    image, pictures = cut(labels)
    spot = np.zeros(labels.shape[1:], bool)
    spot[4:9, 20:25] = True
    for z, number in ((1, 90), (2, 91), (3, 90)):
        plane(pictures, z, np.roll(spot, z, axis=0), number, new=True)
    plane(pictures, 5, spot, 90, new=True)  # not in the next plane: another object
    found = stitch(image, pictures)
    assert [len(np.unique(found[z])) - 1 for z in range(6)] == [
        1 + (z in (2, 3)) + (z < 4) if 0 < z < 5 else int(z == 5) for z in range(6)
    ]
    assert set(np.unique(found)) == {0, 1, 2, 3, 4}
    assert [z for z in range(6) if (found[z] == 3).any()] == [1, 2, 3]


def test_parts_that_overlap_by_half_stay_two_objects() -> None:
    image, pictures = cut(stack_of_two())
    spot = np.zeros((24, 30), bool)
    spot[4:9, 20:24] = True
    plane(pictures, 1, spot, 90, new=True)
    plane(pictures, 2, np.roll(spot, 2, axis=1), 90, new=True)  # overlap is half, expected more
    assert set(np.unique(stitch(image, pictures))) == {0, 1, 2, 3, 4}


def test_new_part_in_the_gap_of_an_object_belongs_to_it() -> None:
    labels = stack_of_two()
    image, pictures = cut(labels)
    pictures["p0_2"].labels[pictures["p0_2"].labels == 1] = 0
    spot = np.zeros(labels.shape[1:], bool)
    spot[3:9, 3:9] = True
    plane(pictures, 2, spot, 90, new=True)
    expected = np.where(labels == 1, 0, labels)
    expected[[1, 3, 4]] = labels[[1, 3, 4]]
    expected[2][spot] = 1
    assert np.array_equal(stitch(image, pictures), expected)


def test_object_is_extended_to_touching_planes_with_its_number() -> None:
    labels = stack_of_two()
    image, pictures = cut(labels)
    spot = labels[2] == 2
    for z in (4, 5):
        plane(pictures, z, spot, 2, new=False)
    plane(pictures, 0, spot, 2, new=False)  # not in plane 1, so not object 2
    found = stitch(image, pictures)
    assert [z for z in range(6) if (found[z] == 2).any()] == [2, 3, 4, 5]
    assert (found[0][spot] == 3).all()


def test_anchor_is_a_voxel_of_the_object_and_the_first_of_several() -> None:
    ring = np.argwhere(
        np.pad(np.zeros((1, 1, 1), bool), ((0, 0), (1, 1), (1, 1)), constant_values=True)
    )
    assert find_anchor(ring) == (0, 0, 1)


def test_crops_have_about_objects_per_crop_and_small_images_stay_whole() -> None:
    labels = np.zeros((1, 300, 600), np.uint32)
    for number, (y, x) in enumerate(np.ndindex(12, 24)):
        labels[0, 25 * y + 5 : 25 * y + 15, 25 * x + 5 : 25 * x + 15] = number + 1
    crops = plan_crops(labels, 18, 32)
    assert 14 <= len(crops) <= 18 and all(12 <= len(crop.owned) <= 24 for crop in crops)
    assert sum(len(crop.owned) for crop in crops) == 288
    assert len(plan_crops(labels, 192, 32)) == 1 and len(plan_crops(labels, 191, 32)) == 2
    assert min(min(crop.core.shape) for crop in plan_crops(labels, 1, 100)) >= 100
