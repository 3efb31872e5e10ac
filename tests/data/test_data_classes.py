"""Truth images whose values are classes: read, merged, sampled, and checked."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cytoloop.data.augmentation import Augmentation
from cytoloop.data.cache_builder import read_row, row_key
from cytoloop.data.cached_image import CachedImage
from cytoloop.data.class_values import check_class_values, warn_if_classes
from cytoloop.data.dataset import PatchDataset, target_of
from cytoloop.data.image_cache import ImageCache
from cytoloop.data.module import ManifestDataModule
from cytoloop.data.patch_centres import POINTS_PER_OBJECT, object_points
from cytoloop.data.patch_schedule import PatchSchedule
from cytoloop.errors import ConfigError, ManifestError
from cytoloop.manifest import Row
from cytoloop.truth.classes import class_heads
from cytoloop.truth.regions import instance_labels

NAMES = ("nucleus", "membrane", "spindle")


def entry_of(
    labels: np.ndarray, valid: np.ndarray | None = None, classes: bool = True
) -> CachedImage:
    valid = np.ones(labels.shape, bool) if valid is None else valid
    points = object_points(labels, valid, classes)
    return CachedImage(
        "a", labels[None].astype(np.float32), labels, valid, *points, classes=classes
    )


def picture(values: tuple[int, ...] = (1, 2, 3)) -> np.ndarray:
    """A few squares of each value."""
    labels = np.zeros((48, 48), np.uint8)
    for row, value in enumerate(values):
        for column in range(4):
            labels[row * 12 + 2 : row * 12 + 8, column * 12 + 2 : column * 12 + 8] = value
    return labels


def row_of(folder: Path, **cells: str) -> Row:
    return Row({"id": "a", "raw": "raw.tif", "seg1": "seg1.tif", **cells}, folder, 1)


@pytest.fixture
def merged(tmp_path: Path) -> Path:
    """Two class images of one picture, and a mask that takes the right half of the second."""
    region = np.zeros((48, 48), np.uint8)
    region[:, 24:] = 1
    for name, data in {
        "raw": picture().astype(np.uint16),
        "seg1": picture(),
        "seg2": picture((3, 3, 1)),
        "merge": region,
    }.items():
        tifffile.imwrite(tmp_path / f"{name}.tif", data)
    return tmp_path


def test_merging_keeps_the_values_of_classes(merged: Path) -> None:
    row = row_of(merged, seg2="seg2.tif", merge_mask="merge.tif", base_image="seg1")
    labels = read_row(row, classes=True)[1]
    np.testing.assert_array_equal(labels[:, :24], picture()[:, :24])
    np.testing.assert_array_equal(labels[:, 24:], picture((3, 3, 1))[:, 24:])
    assert read_row(row)[1].max() > 3  # objects are numbered apart
    whole = row_of(merged, seg2="seg2.tif", merge_mask="merge.tif", merge_rule="majority")
    with pytest.raises(ManifestError, match="merges objects, these are classes"):
        read_row(whole, classes=True)


def test_the_store_keeps_classes_apart_from_objects(merged: Path) -> None:
    row = row_of(merged)
    assert row_key(row, classes=True) != row_key(row) == row_key(row, classes=False)
    (classes,) = ImageCache(merged / "store", classes=True).entries([row])
    (objects,) = ImageCache(merged / "store").entries([row])
    assert classes.classes and not objects.classes
    assert len(classes.starts) == len(objects.starts) == 4
    assert len(objects.points) == 3 * POINTS_PER_OBJECT < len(classes.points)


def test_a_class_is_a_place_for_patches_wherever_it_is() -> None:
    labels = np.zeros((64, 64), np.uint8)
    labels[:, :60], labels[30, 62] = 1, 2
    points, starts = object_points(labels, np.ones(labels.shape, bool), classes=True)
    large, small = points[: starts[1]], points[starts[1] :]
    assert len(large) == 60 * 64 and small.tolist() == [[30, 62]]


def test_each_head_is_taught_its_value() -> None:
    labels = picture()
    target = target_of(class_heads(NAMES), labels, {})
    for value, one in enumerate(target, 1):
        np.testing.assert_array_equal(one, labels == value)


def test_patches_move_classes_with_the_image() -> None:
    entry = entry_of(picture())
    levels = (np.zeros(1, np.float32), np.ones(1, np.float32))
    schedule = PatchSchedule([entry.shape], [16, 16], 2, 8, None, 0)
    parts = Augmentation()
    patches = PatchDataset([entry], [levels], [16, 16], schedule, 1.0, parts, 0, class_heads(NAMES))
    for index in range(8):
        sample = patches[(0, index)]
        for value, one in enumerate(sample["target"], 1):
            np.testing.assert_array_equal(one, sample["image"][0] == value)


def test_pieces_of_every_class_are_objects() -> None:
    assert instance_labels(picture(), classes=True).max() == 12
    assert instance_labels(picture()).max() == 3


def test_truth_beyond_the_classes_is_told_image_by_image() -> None:
    good, beyond = entry_of(picture()), entry_of(picture((1, 7, 9)))
    check_class_values("set", [good], [good], NAMES)
    with pytest.raises(ManifestError, match="holds values that are no class: 7, 9") as found:
        check_class_values("set", [good, beyond], [beyond], NAMES)
    assert [line.split(",")[0] for line in found.value.problems] == ["train", "valid"]
    assert "1 = nucleus, 2 = membrane" in found.value.repair


def test_ids_of_objects_are_no_classes() -> None:
    ids = instance_labels(picture(), classes=True)
    with pytest.raises(ManifestError, match="look like objects"):
        check_class_values("set", [entry_of(ids)], [entry_of(ids)], NAMES)


def test_excluded_voxels_may_hold_anything() -> None:
    labels = picture((1, 2, 3, 200))
    entry = entry_of(labels, labels < 200)
    check_class_values("set", [entry], [entry], NAMES)


def test_a_class_that_nobody_shows_is_told(caplog: pytest.LogCaptureFixture) -> None:
    good, poor = entry_of(picture()), entry_of(picture((1, 2)))
    with pytest.raises(ManifestError, match=r"no image shows class 3 \(spindle\)"):
        check_class_values("set", [poor], [good], NAMES)
    with caplog.at_level(logging.WARNING):
        check_class_values("set", [good], [poor], NAMES)
    assert "no validation image shows class 3 (spindle)" in caplog.text


def test_classes_where_objects_are_meant_are_hinted_at(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        warn_if_classes([entry_of(instance_labels(picture(), classes=True), classes=False)])
        warn_if_classes([entry_of((picture() > 0).astype(np.uint8), classes=False)])
        warn_if_classes([])
        assert not caplog.text
        warn_if_classes([entry_of(picture(), classes=False)])
    assert "model=semantic" in caplog.text


def test_heads_that_are_no_list_of_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="class_a"):
        ManifestDataModule(
            *(tmp_path, [8, 8], 1, None, None, 0.5, 0, 0, tmp_path, None, {}, Augmentation()),
            heads=["foreground", "class_a"],
        )
