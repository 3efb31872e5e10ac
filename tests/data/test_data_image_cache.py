"""The image cache: keys, contents, limits, and runs in parallel."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cytoloop.data import cache_builder
from cytoloop.data import image_cache as image_cache_module
from cytoloop.data.cache_builder import cache_key, read_row
from cytoloop.data.cached_image import CachedImage
from cytoloop.data.image_cache import ImageCache
from cytoloop.data.patch_centres import object_points, valid_points
from cytoloop.errors import ImageError, ManifestError, OutputError
from cytoloop.manifest import Row, write_manifest
from cytoloop.workers.engine import Engine

SHAPE = (6, 24, 24)


@pytest.fixture
def row(tmp_path: Path, blobs: Callable, tiff: Callable) -> Row:
    raw, labels = blobs(SHAPE, 4, seed=1)
    tiff(tmp_path / "raw.tif", raw)
    tiff(tmp_path / "seg.tif", labels)
    return Row({"id": "a", "raw": "raw.tif", "seg1": "seg.tif"}, tmp_path, 1)


@pytest.fixture
def rows(tmp_path: Path, blobs: Callable, tiff: Callable) -> list[Row]:
    for number in range(3):
        raw, labels = blobs(SHAPE, 4, seed=number)
        tiff(tmp_path / f"raw{number}.tif", raw)
        tiff(tmp_path / f"seg{number}.tif", labels)
    return [
        Row({"id": f"im{n}", "raw": f"raw{n}.tif", "seg1": f"seg{n}.tif"}, tmp_path, n + 1)
        for n in range(3)
    ]


def open_row(cache: ImageCache, row: Row) -> CachedImage:
    return cache.entries([row])[0]


def cached_names(cache: ImageCache) -> set[str]:
    return {p.name for p in cache.folder.iterdir() if not p.name.startswith(".")}


def changed(row: Row, **cells: str) -> Row:
    return Row({**row.values, **cells}, row.root, row.number)


def test_a_cached_image_equals_the_files(row: Row, tmp_path: Path) -> None:
    cached = open_row(ImageCache(tmp_path / "store"), row)
    image, labels, valid, spacing = read_row(row)
    np.testing.assert_array_equal(cached.image, image)
    np.testing.assert_array_equal(cached.labels, labels)
    assert cached.labels.dtype == np.uint8 and cached.image.dtype == np.uint16
    assert (
        cached.valid.all() and valid.all() and cached.shape == SHAPE and cached.valid_points is None
    )
    assert cached.spacing_um == spacing == pytest.approx((0.6, 0.3, 0.3))
    assert isinstance(cached.image, np.memmap) and isinstance(cached.labels, np.memmap)


def test_only_an_edited_row_is_built_again(rows: list[Row], tmp_path: Path) -> None:
    """CytoDL's cache is keyed by the text of the row and would use the old mask."""
    cache = ImageCache(tmp_path / "store")
    before = [e.labels.ctypes.data for e in cache.entries(rows)]
    assert len(cached_names(cache)) == len(before) == 3
    times = {p: p.stat().st_mtime_ns for p in cache.folder.glob("*/image.npy")}
    mask = np.zeros(SHAPE, np.uint16)
    mask[2, 3:9, 3:9] = 7
    path = rows[1].file("seg1")
    assert path is not None
    stat = path.stat()
    import tifffile

    tifffile.imwrite(path, mask)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # the modification time stays the same
    entries = cache.entries(rows)
    np.testing.assert_array_equal(entries[1].labels, mask)
    assert len(cached_names(cache)) == 4
    assert {p: p.stat().st_mtime_ns for p in times} == times


def edits(root: Path, tiff: Callable) -> dict[str, Callable[[Row], Row]]:
    """Return every kind of edit of a row's files and of its cells."""
    mask = np.zeros(SHAPE[1:], np.uint8)
    mask[:, :12] = 1
    other = np.zeros(SHAPE, np.uint16)
    other[:, 2:8, 2:8] = 3

    def write(name: str, data: np.ndarray, **cells: str) -> Callable[[Row], Row]:
        def edit(row: Row) -> Row:
            tiff(root / name, data)
            return changed(row, **cells)

        return edit

    return {
        "image": write("raw.tif", other),
        "segmentation": write("seg.tif", other),
        "second segmentation": write("seg2.tif", other),
        "excluded region": write("exclude.tif", mask.T),
        "merged region": write("merge.tif", mask.T),
        "merge rule": lambda row: changed(row, merge_rule="majority"),
        "base image": lambda row: changed(row, base_image="seg2"),
        "channel": lambda row: changed(row, channel="0"),
        "channel of labels": lambda row: changed(row, channel_seg1="0"),
        "scene": lambda row: changed(row, scene="0"),
        "spacing": lambda row: changed(row, spacing_um="2 1 1"),
        "no region": lambda row: changed(row, exclude_mask=""),
    }


@pytest.mark.parametrize("kind", edits(Path(), lambda *a: None))
def test_every_edit_gives_another_key(kind: str, row: Row, tmp_path: Path, tiff: Callable) -> None:
    mask = np.zeros(SHAPE[1:], np.uint8)
    mask[:, :12] = 1
    tiff(tmp_path / "exclude.tif", mask)
    tiff(tmp_path / "merge.tif", mask)
    tiff(tmp_path / "seg2.tif", np.roll(np.asarray(read_row(row)[1]), 3, 1))
    full = changed(
        row,
        seg2="seg2.tif",
        exclude_mask="exclude.tif",
        merge_mask="merge.tif",
        base_image="seg1",
        merge_rule="clip",
    )
    before = cache_key(full)
    assert cache_key(full) == before == cache_key(changed(full, id="renamed", status="good"))
    after = edits(tmp_path, tiff)[kind](full)
    if kind == "scene":
        assert cache_key(after) != before
        return
    cache = ImageCache(tmp_path / "store")
    cached = open_row(cache, after)
    image, labels, valid, spacing = read_row(after)
    assert cache_key(after) != before and cached.folder is not None
    np.testing.assert_array_equal(cached.image, image)
    np.testing.assert_array_equal(cached.labels, labels)
    np.testing.assert_array_equal(cached.valid, valid)
    assert cached.spacing_um == spacing


def test_points_are_never_excluded(row: Row, tmp_path: Path, tiff: Callable) -> None:
    mask = np.zeros(SHAPE[1:], np.uint8)
    mask[:, :12] = 1
    tiff(tmp_path / "exclude.tif", mask)
    cached = open_row(ImageCache(tmp_path / "store"), changed(row, exclude_mask="exclude.tif"))
    assert not cached.valid[:, :, :12].any() and cached.valid[:, :, 12:].all()
    assert cached.valid_points is not None
    assert (cached.object_points[:, 2] >= 12).all() and (cached.valid_points[:, 2] >= 12).all()


def test_intensity_stats_are_stored_per_normalization(row: Row, tmp_path: Path) -> None:
    cached = open_row(ImageCache(tmp_path / "store"), row)
    for rule in ({"method": "percentile", "lower": 1.0, "upper": 99.0}, {"method": "zscore"}):
        first, again = cached.intensity_stats(rule), cached.intensity_stats(rule)
        image = np.asarray(cached.image, np.float32)
        expected = (
            np.percentile(image, [1, 99])
            if rule["method"] == "percentile"
            else [image.mean(), image.mean() + image.std()]
        )
        assert [first[0][0], first[0][0] + first[1][0]] == pytest.approx(expected, rel=1e-3)
        assert first[0] == again[0] and first[1] == again[1]
    assert len(list(cached.folder.glob("intensity_stats_*.json"))) == 2  # type: ignore[union-attr]


def test_a_full_disk_is_an_error_and_leaves_no_files(
    row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = ImageCache(tmp_path / "store")

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OutputError, match="the disk is full.*\n.*paths.cache_dir=FOLDER"):
        cache.entries([row])
    assert list(cache.folder.iterdir()) == []


def test_a_too_small_disk_is_an_error_before_any_image_is_read(
    rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = SimpleNamespace(total=10**6, used=10**6, free=20_000)
    monkeypatch.setattr(image_cache_module.shutil, "disk_usage", lambda path: small)
    monkeypatch.setattr(cache_builder, "read_row", lambda *given: pytest.fail("read"))
    cache = ImageCache(tmp_path / "store")
    with pytest.raises(OutputError, match=r"3 image\(s\) need 0 MB, 0 MB are free"):
        cache.entries(rows)
    assert not cache.folder.exists()


@pytest.mark.skipif(not shutil.which("mount") or os.getuid() != 0, reason="needs root on Linux")
def test_a_disk_that_fills_up_during_building_is_an_error(rows: list[Row], tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", disk], check=False)
    if mounted.returncode:
        pytest.skip("no right to mount a small disk")
    try:
        with pytest.raises(OutputError, match=r"are free|disk is full"):
            ImageCache(disk / "store").entries(rows)
        assert not list(disk.glob("store/*"))
    finally:
        subprocess.run(["umount", disk], check=True)


def test_the_least_recently_used_image_is_removed_first(rows: list[Row], tmp_path: Path) -> None:
    folder = tmp_path / "store"
    size = {}
    for row in rows[:2]:
        cached = open_row(ImageCache(folder), row)
        assert cached.folder is not None
        size[row.id] = sum(p.stat().st_size for p in cached.folder.iterdir())
    old = cache_key(rows[0])
    os.utime(folder / old / "entry.json", (1, 1))
    limit = (sum(size.values()) + 1000) / 2**30
    open_row(ImageCache(folder, limit), rows[2])
    assert cached_names(ImageCache(folder)) == {cache_key(rows[1]), cache_key(rows[2])}
    with pytest.raises(OutputError, match=r"this data set needs .* data.cache_limit_gib allows"):
        ImageCache(folder, limit / 2).entries(rows)
    assert cached_names(ImageCache(folder)) == {cache_key(rows[1]), cache_key(rows[2])}


def test_temporary_folders_of_killed_runs_are_removed_after_a_day(
    rows: list[Row], tmp_path: Path
) -> None:
    cache = ImageCache(tmp_path / "store")
    for name, age in (("old", 2 * 86400), ("new", 60)):
        (cache.folder / f".building-{name}").mkdir(parents=True)
        os.utime(cache.folder / f".building-{name}", (time.time() - age,) * 2)
    cache.entries(rows)
    assert [p.name for p in cache.folder.glob(".building-*")] == [".building-new"]


def test_an_image_that_another_run_finishes_is_no_error(
    rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    glob = Path.glob
    gone = tmp_path / "store" / ".building-another"  # listed, then renamed by the other run
    monkeypatch.setattr(
        Path,
        "glob",
        lambda self, pattern: (
            [gone, *glob(self, pattern)] if pattern.startswith(".building") else glob(self, pattern)
        ),
    )
    assert len(ImageCache(tmp_path / "store").entries(rows)) == len(rows)


def test_several_runs_share_a_cache(rows: list[Row], tmp_path: Path) -> None:
    """Four processes need the same images at the same time."""
    write_manifest(tmp_path / "m.csv", [dict(row.values) for row in rows])
    code = (
        "import sys, json, numpy as np\n"
        "from cytoloop.data.image_cache import ImageCache\n"
        "from cytoloop.manifest import read_manifest\n"
        "rows = list(read_manifest(sys.argv[1]))\n"
        "entries = ImageCache(sys.argv[2]).entries(rows)\n"
        "print(json.dumps([int(np.asarray(e.image).sum()) for e in entries]))\n"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code, tmp_path / "m.csv", tmp_path / "store"],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    outputs = [run.communicate(timeout=120)[0] for run in runs]
    assert all(run.returncode == 0 for run in runs)
    sums = [int(read_row(row)[0].sum()) for row in rows]
    assert [json.loads(output) for output in outputs] == [sums] * 4
    assert sorted(p.name for p in (tmp_path / "store").iterdir()) == sorted(map(cache_key, rows))


def test_many_small_images_are_built_in_parallel(
    tmp_path: Path, blobs: Callable, tiff: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cytoloop")
    rows = []
    for number in range(50):
        raw, labels = blobs((24, 24), 2, seed=number)
        tiff(tmp_path / f"raw{number}.tif", raw)
        tiff(tmp_path / f"seg{number}.tif", labels)
        cells = {"id": f"{number}", "raw": f"raw{number}.tif", "seg1": f"seg{number}.tif"}
        rows.append(Row(cells, tmp_path, number + 1))
    entries = ImageCache(tmp_path / "store", engine=Engine(workers=2)).entries(rows)
    for row, cached in zip(rows, entries, strict=True):
        np.testing.assert_array_equal(cached.image, read_row(row)[0])
    assert "read 50 image(s) into the image cache" in caplog.text
    tiff(tmp_path / "seg3.tif", np.ones((5, 5), np.uint8))
    tiff(tmp_path / "seg7.tif", np.ones((6, 5), np.uint8))
    with pytest.raises(ManifestError, match=r"(?s)shape \(5, 5\).*shape \(6, 5\)"):
        ImageCache(tmp_path / "store", engine=Engine(workers=2)).entries(rows)


def test_a_merge_mask_is_applied_when_a_row_is_read(
    row: Row, tmp_path: Path, tiff: Callable
) -> None:
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


def test_rows_that_cannot_be_read_are_refused(row: Row, tmp_path: Path, tiff: Callable) -> None:
    tiff(tmp_path / "small.tif", np.ones((6, 20, 24), np.uint8))
    with pytest.raises(ImageError, match=r"shape \(6, 20, 24\) but raw is \(6, 24, 24\)"):
        read_row(changed(row, seg1="small.tif"))
    with pytest.raises(ManifestError, match="column 'seg2'.*is empty"):
        read_row(changed(row, merge_mask="small.tif"))
    with pytest.raises(ManifestError, match="Expected seg1 or seg2"):
        read_row(changed(row, base_image="both"))
    with pytest.raises(ManifestError, match="column 'seg1'.*is empty"):
        read_row(changed(row, seg1=""))
    with pytest.raises(ImageError, match="file not found"):
        open_row(ImageCache(tmp_path / "s"), changed(row, raw="none.tif"))


def test_object_points_lie_in_each_object_or_component() -> None:
    mask = np.zeros((4, 30, 30), np.uint8)
    mask[:, 2:4, 2:4] = 1
    mask[:, 10:28, 10:28] = 1
    for value in (1, 255):
        points, starts = object_points(mask * value, np.ones(mask.shape, bool))
        assert starts.tolist() == [0, 16, 48]  # all voxels of the small one, 32 of the large one
        assert mask[tuple(points.T)].all()
    points, starts = object_points(np.zeros((5, 5), np.uint8), np.ones((5, 5), bool))
    assert points.shape == (0, 2) and starts.tolist() == [0]


def test_valid_points_are_not_excluded() -> None:
    assert valid_points(np.ones((4, 4), bool)) is None
    valid = np.zeros((100, 100), bool)
    valid[3:5, 7] = True
    assert sorted(map(tuple, valid_points(valid).tolist())) == [(3, 7), (4, 7)]  # type: ignore[union-attr]
    assert len(valid_points(~valid)) == 4096  # type: ignore[arg-type]
    assert len(valid_points(np.zeros((4, 4), bool))) == 0  # type: ignore[arg-type]
