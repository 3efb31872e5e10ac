from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cytoloop.data.store import ImageStore, object_points, read_row
from cytoloop.errors import ImageError, ManifestError
from cytoloop.manifest import Row

SHAPE = (6, 24, 24)


@pytest.fixture
def row(tmp_path: Path, blobs: Callable, tiff: Callable) -> Row:
    raw, labels = blobs(SHAPE, 4, seed=1)
    tiff(tmp_path / "raw.tif", raw)
    tiff(tmp_path / "seg.tif", labels)
    return Row({"id": "a", "raw": "raw.tif", "seg1": "seg.tif"}, tmp_path, 1)


def entries(store: ImageStore) -> int:
    return len([p for p in store.folder.iterdir() if not p.name.startswith(".")])


def test_an_entry_holds_what_the_files_hold(row: Row, tmp_path: Path) -> None:
    entry = ImageStore(tmp_path / "store").entry(row)
    image, labels, valid, spacing = read_row(row)
    np.testing.assert_array_equal(entry.image, image)
    np.testing.assert_array_equal(entry.labels, labels)
    assert entry.valid.all() and valid.all() and entry.shape == SHAPE
    assert entry.spacing_um == spacing == pytest.approx((0.6, 0.3, 0.3))
    assert isinstance(entry.image, np.memmap)


def test_an_edited_mask_or_image_is_never_read_stale(
    row: Row, tmp_path: Path, tiff: Callable
) -> None:
    store = ImageStore(tmp_path / "store")
    store.entry(row)
    store.entry(row)
    assert entries(store) == 1
    labels = np.zeros(SHAPE, np.uint16)
    labels[2, 3:9, 3:9] = 7
    tiff(tmp_path / "seg.tif", labels)
    np.testing.assert_array_equal(store.entry(row).labels, labels)
    tiff(tmp_path / "raw.tif", labels)
    np.testing.assert_array_equal(store.entry(row).image[0], labels)
    assert entries(store) == 3


def test_an_added_region_changes_the_entry(row: Row, tmp_path: Path, tiff: Callable) -> None:
    store = ImageStore(tmp_path / "store")
    store.entry(row)
    mask = np.zeros(SHAPE[1:], np.uint8)
    mask[:, :12] = 1
    tiff(tmp_path / "exclude.tif", mask)
    excluded = Row({**row.values, "exclude_mask": "exclude.tif"}, row.root, 1)
    entry = store.entry(excluded)
    assert not entry.valid[:, :, :12].any() and entry.valid[:, :, 12:].all()
    assert (entry.points[:, 2] >= 12).all()


def test_a_failed_build_leaves_nothing(
    row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ImageStore(tmp_path / "store")

    def full(*args: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="No space"):
        store.entry(row)
    assert list(store.folder.iterdir()) == []


def test_merging_in_the_manifest_merges_at_load(row: Row, tmp_path: Path, tiff: Callable) -> None:
    other = np.zeros(SHAPE, np.uint16)
    other[:, 2:8, 2:8] = 1
    tiff(tmp_path / "seg2.tif", other)
    region = np.zeros(SHAPE[1:], np.uint8)
    region[:12] = 1
    tiff(tmp_path / "merge.tif", region)
    cells = {**row.values, "seg2": "seg2.tif", "merge_mask": "merge.tif", "base_image": "seg1"}
    _, plain, _, _ = read_row(row)
    _, merged, _, _ = read_row(Row(cells, row.root, 1))
    np.testing.assert_array_equal(merged[:, 12:] > 0, plain[:, 12:] > 0)
    np.testing.assert_array_equal(merged[:, :12] > 0, other[:, :12] > 0)
    _, swapped, _, _ = read_row(Row({**cells, "base_image": "seg2"}, row.root, 1))
    np.testing.assert_array_equal(swapped[:, 12:] > 0, other[:, 12:] > 0)


def test_rows_that_cannot_be_read(row: Row, tmp_path: Path, tiff: Callable) -> None:
    def changed(**cells: str) -> Row:
        return Row({**row.values, **cells}, row.root, 1)

    tiff(tmp_path / "small.tif", np.ones((6, 20, 24), np.uint8))
    with pytest.raises(ImageError, match=r"shape \(6, 20, 24\) but raw is \(6, 24, 24\)"):
        read_row(changed(seg1="small.tif"))
    with pytest.raises(ManifestError, match="column 'seg2'.*is empty"):
        read_row(changed(merge_mask="small.tif"))
    with pytest.raises(ManifestError, match="Expected seg1 or seg2"):
        read_row(changed(base_image="both"))
    with pytest.raises(ManifestError, match="column 'seg1'.*is empty"):
        read_row(changed(seg1=""))
    with pytest.raises(ImageError, match="file not found"):
        ImageStore(tmp_path / "s").entry(changed(raw="none.tif"))


def test_points_are_voxels_of_each_object_and_a_mask_is_split_up() -> None:
    mask = np.zeros((4, 30, 30), np.uint8)
    mask[:, 2:4, 2:4] = 1
    mask[:, 10:28, 10:28] = 1
    for value in (1, 255):
        points, starts = object_points(mask * value, np.ones(mask.shape, bool))
        assert starts.tolist() == [0, 16, 48]  # the small one whole, 32 of the large one
        assert mask[tuple(points.T)].all()
    points, starts = object_points(np.zeros((5, 5), np.uint8), np.ones((5, 5), bool))
    assert points.shape == (0, 2) and starts.tolist() == [0]
