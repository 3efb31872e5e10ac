"""Segmentations whose values are classes: reading, merging, sampling and checks."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from cytoloop.data.augmentation import Augmentation
from cytoloop.data.cache_builder import cache_key, read_row
from cytoloop.data.cached_image import CachedImage
from cytoloop.data.class_values import check_class_values, warn_if_classes
from cytoloop.data.dataset import PatchDataset
from cytoloop.data.image_cache import ImageCache
from cytoloop.data.module import ManifestDataModule
from cytoloop.data.patch_centres import POINTS_PER_OBJECT, object_points
from cytoloop.data.patch_schedule import PatchSchedule
from cytoloop.data.patches import target_channels
from cytoloop.data.settings import SamplingSettings
from cytoloop.errors import ConfigError, ManifestError
from cytoloop.manifest import Row
from cytoloop.truth.classes import class_heads
from cytoloop.truth.regions import instance_labels

NAMES = ("nucleus", "membrane", "spindle")


def image_of(
    labels: np.ndarray, valid: np.ndarray | None = None, classes: bool = True
) -> CachedImage:
    valid = np.ones(labels.shape, bool) if valid is None else valid
    points = object_points(labels, valid, classes)
    return CachedImage(
        "a", labels[None].astype(np.float32), labels, valid, *points, classes=classes
    )


def class_squares(values: tuple[int, ...] = (1, 2, 3)) -> np.ndarray:
    """Return four squares of each value."""
    labels = np.zeros((48, 48), np.uint8)
    for row, value in enumerate(values):
        for column in range(4):
            labels[row * 12 + 2 : row * 12 + 8, column * 12 + 2 : column * 12 + 8] = value
    return labels


def data_module(folder: Path, **changes: Any) -> ManifestDataModule:
    settings: dict[str, Any] = {
        "path": folder, "patch_size": [8, 8], "batch_size": 1, "patches_per_image": None,
        "steps_per_epoch": None, "foreground_fraction": 0.5, "num_workers": 0, "seed": 0,
        "cache_dir": folder, "cache_limit_gib": None, "normalization": {},
    }  # fmt: skip
    return ManifestDataModule(augmentation=Augmentation(), **settings | changes)


def row_of(folder: Path, **cells: str) -> Row:
    return Row({"id": "a", "raw": "raw.tif", "seg1": "seg1.tif", **cells}, folder, 1)


@pytest.fixture
def merged(tmp_path: Path) -> Path:
    """Two class images, and a merge mask of the right half."""
    region = np.zeros((48, 48), np.uint8)
    region[:, 24:] = 1
    for name, data in {
        "raw": class_squares().astype(np.uint16),
        "seg1": class_squares(),
        "seg2": class_squares((3, 3, 1)),
        "merge": region,
    }.items():
        tifffile.imwrite(tmp_path / f"{name}.tif", data)
    return tmp_path


def test_merging_keeps_the_values_of_classes(merged: Path) -> None:
    row = row_of(merged, seg2="seg2.tif", merge_mask="merge.tif", base_image="seg1")
    labels = read_row(row, classes=True)[1]
    np.testing.assert_array_equal(labels[:, :24], class_squares()[:, :24])
    np.testing.assert_array_equal(labels[:, 24:], class_squares((3, 3, 1))[:, 24:])
    assert read_row(row)[1].max() > 3  # ids of objects are shifted
    whole = row_of(merged, seg2="seg2.tif", merge_mask="merge.tif", merge_rule="majority")
    with pytest.raises(ManifestError, match="merges objects, but these are classes"):
        read_row(whole, classes=True)


def test_the_cache_separates_classes_from_objects(merged: Path) -> None:
    row = row_of(merged)
    assert cache_key(row, classes=True) != cache_key(row) == cache_key(row, classes=False)
    (classes,) = ImageCache(merged / "store", classes=True).entries([row])
    (objects,) = ImageCache(merged / "store").entries([row])
    assert classes.classes and not objects.classes
    assert len(classes.object_starts) == len(objects.object_starts) == 4
    assert len(objects.object_points) == 3 * POINTS_PER_OBJECT < len(classes.object_points)


def test_object_points_has_points_of_every_class() -> None:
    labels = np.zeros((64, 64), np.uint8)
    labels[:, :60], labels[30, 62] = 1, 2
    points, starts = object_points(labels, np.ones(labels.shape, bool), classes=True)
    large, small = points[: starts[1]], points[starts[1] :]
    assert len(large) == 60 * 64 and small.tolist() == [[30, 62]]


def test_each_channel_is_the_mask_of_its_class() -> None:
    labels = class_squares()
    target = target_channels(class_heads(NAMES), labels, {})
    for value, one in enumerate(target, 1):
        np.testing.assert_array_equal(one, labels == value)


def test_patches_move_classes_with_the_image() -> None:
    cached = image_of(class_squares())
    intensity = (np.zeros(1, np.float32), np.ones(1, np.float32))
    settings = SamplingSettings([16, 16], 2, patches_per_image=8, foreground_fraction=1.0)
    schedule = PatchSchedule([cached.shape], settings)
    augmentation = Augmentation()
    patches = PatchDataset([cached], [intensity], schedule, augmentation, class_heads(NAMES))
    for index in range(8):
        sample = patches[(0, index)]
        for value, one in enumerate(sample["target"], 1):
            np.testing.assert_array_equal(one, sample["image"][0] == value)


def test_connected_components_of_every_class_are_instances() -> None:
    assert instance_labels(class_squares(), classes=True).max() == 12
    assert instance_labels(class_squares()).max() == 3


def test_values_that_are_not_classes_are_listed_by_image() -> None:
    good, beyond = image_of(class_squares()), image_of(class_squares((1, 7, 9)))
    check_class_values("set", [good], [good], NAMES)
    with pytest.raises(ManifestError, match="has values that are not classes: 7, 9") as found:
        check_class_values("set", [good, beyond], [beyond], NAMES)
    assert [line.split(",")[0] for line in found.value.problems] == ["train", "valid"]
    assert "1 = nucleus, 2 = membrane" in found.value.repair


def test_ids_of_objects_are_not_accepted_as_classes() -> None:
    ids = instance_labels(class_squares(), classes=True)
    with pytest.raises(ManifestError, match="look like ids of objects"):
        check_class_values("set", [image_of(ids)], [image_of(ids)], NAMES)


def test_excluded_voxels_may_have_any_value() -> None:
    labels = class_squares((1, 2, 3, 200))
    cached = image_of(labels, labels < 200)
    check_class_values("set", [cached], [cached], NAMES)


def test_a_class_in_no_training_image_is_refused_and_in_no_validation_image_warned_about(
    caplog: pytest.LogCaptureFixture,
) -> None:
    good, poor = image_of(class_squares()), image_of(class_squares((1, 2)))
    with pytest.raises(ManifestError, match=r"no image has class 3 \(spindle\)"):
        check_class_values("set", [poor], [good], NAMES)
    with caplog.at_level(logging.WARNING):
        check_class_values("set", [good], [poor], NAMES)
    assert "no validation image has class 3 (spindle)" in caplog.text


def test_a_warning_if_ids_of_objects_look_like_classes(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        warn_if_classes([image_of(instance_labels(class_squares(), classes=True), classes=False)])
        warn_if_classes([image_of((class_squares() > 0).astype(np.uint8), classes=False)])
        warn_if_classes([])
        assert not caplog.text
        warn_if_classes([image_of(class_squares(), classes=False)])
    assert "model=semantic" in caplog.text


def test_unknown_heads_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="class_a"):
        data_module(tmp_path, heads=["foreground", "class_a"])


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("patches_per_image", 0, "is 0, expected 1 to 1000; nearest: 1"),
        ("steps_per_epoch", 0, "is 0, expected 1 to 1000000; nearest: 1"),
        ("batch_size", 0, "is 0, expected 1 to 256; nearest: 1"),
        ("batch_size", "auto", "is auto, expected a number"),
        ("patch_size", "auto", "is auto, expected numbers"),
        ("patch_size", 32, "is 32, expected numbers"),
        ("patch_size", ["auto", 32, 32], r"is \['auto', 32, 32\], expected numbers"),
        ("patch_size", [4, 8], "Y is 4, expected 8 to 512; nearest: 8"),
        ("foreground_fraction", 30, "is 30, expected 0 to 1; nearest: 1"),
        ("num_workers", -1, "is -1, expected 0 to 1024; nearest: 0"),
        ("cache_limit_gib", 0, "is 0, expected a number above 0"),
        ("replay_fraction", 1, "is 1, expected a fraction, 0 to below 1"),
        ("replay_fraction", 0.3, "is 0.3 and data.replay_path is None; set both"),
    ],
)
def test_a_data_module_refuses_invalid_settings(
    tmp_path: Path, key: str, value: object, fault: str
) -> None:
    with pytest.raises(ConfigError, match=f"data.{key}: {fault}"):
        data_module(tmp_path, **{key: value})


def test_a_data_module_lists_all_invalid_settings(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="3 problems"):
        data_module(tmp_path, batch_size=0, num_workers=-1, patch_size=[2, 8])
