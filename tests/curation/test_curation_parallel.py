"""Checks in parallel: the same results with any number of processes, and a cache of results."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cytoloop.curation.checks import check_cache, parallel
from cytoloop.curation.checks.check_cache import CheckJob
from cytoloop.curation.checks.parallel import check_in_parallel
from cytoloop.curation.checks.result import CheckResult
from cytoloop.curation.checks.row import CheckOptions
from cytoloop.curation.region_masks import Regions
from cytoloop.manifest import Row
from cytoloop.workers import local
from cytoloop.workers.engine import Engine

Blobs = Callable[..., tuple[np.ndarray, np.ndarray]]
Tiff = Callable[[Path, np.ndarray], Path]


def jobs_of(folder: Path, count: int = 5, **cells: str) -> list[CheckJob]:
    return [
        CheckJob(
            Row(
                {
                    "id": f"img_{i}",
                    "raw": str(folder / "raw" / f"img_{i}.tif"),
                    "seg1": str(folder / "seg" / f"img_{i}.tif"),
                    **cells,
                }
            ),
            Regions(),
        )
        for i in range(count)
    ]


@pytest.fixture
def old_images(images_2d: Path) -> Path:
    """Images that were changed long ago: young files are always hashed again."""
    for path in images_2d.rglob("*.tif"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    return images_2d


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the rows that were checked and not taken from the cache."""
    seen: list[str] = []
    real = parallel.check_row

    def watch(row: Row, **given: object) -> CheckResult:
        seen.append(row.id)
        return real(row, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(parallel, "check_row", watch)
    return seen


def test_processes_give_the_same_results(images_2d: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "MIN_JOBS_FOR_PROCESSES", 2)
    jobs = jobs_of(images_2d)
    (images_2d / "seg" / "img_3.tif").write_bytes(b"no image")
    alone = check_in_parallel(jobs, CheckOptions(), engine=Engine(workers=1))
    assert check_in_parallel(jobs, CheckOptions(), engine=Engine(workers=2)) == alone
    assert [bool(one.problems) for one in alone] == [False, False, False, True, False]


def test_threads_give_the_same_results(images_2d: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "LARGE_FILE_BYTES", 0)
    jobs = jobs_of(images_2d)
    assert check_in_parallel(jobs, CheckOptions(), engine=Engine(workers=3)) == check_in_parallel(
        jobs, CheckOptions(), engine=Engine(workers=1)
    )


def test_the_cache_is_used_until_a_file_changes(
    old_images: Path, tmp_path: Path, checked: list[str], blobs: Blobs, tiff: Tiff
) -> None:
    cache, options = tmp_path / "deep" / "checks.sqlite", CheckOptions()
    first = check_in_parallel(jobs_of(old_images), options, cache=cache)
    assert len(checked) == 5
    assert check_in_parallel(jobs_of(old_images), options, cache=cache) == first
    assert len(checked) == 5
    tiff(old_images / "seg" / "img_1.tif", blobs((48, 56), 3, seed=9)[1])
    (old_images / "raw" / "img_2.tif").touch()
    later = check_in_parallel(jobs_of(old_images), options, cache=cache)
    assert sorted(checked[5:]) == ["img_1", "img_2"]
    assert later[1].objects == 3 and later[2] == first[2]
    del checked[:]
    check_in_parallel(jobs_of(old_images, channel_seg1="0"), options, cache=cache)
    check_in_parallel(jobs_of(old_images), CheckOptions(instances=True), cache=cache)
    assert len(checked) == 10


def test_results_of_another_version_are_not_used(
    old_images: Path, tmp_path: Path, checked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    check_in_parallel(jobs_of(old_images), CheckOptions(), cache=tmp_path / "m.sqlite")
    monkeypatch.setattr(check_cache, "_VERSION", -1)
    check_in_parallel(jobs_of(old_images), CheckOptions(), cache=tmp_path / "m.sqlite")
    assert len(checked) == 10


def test_a_removed_mask_is_written_again(old_images: Path, tmp_path: Path) -> None:
    for name, at in (("a", 0), ("b", 20)):
        box = np.array([[[at, 0], [at, 9], [at + 9, 9], [at + 9, 0]]], float)
        np.save(tmp_path / f"{name}.npy", box)
        os.utime(tmp_path / f"{name}.npy", (1_000_000_000, 1_000_000_000))
    regions = Regions((str(tmp_path / "a.npy"), str(tmp_path / "b.npy")))
    jobs = [CheckJob(jobs_of(old_images, 1)[0].row, regions)]
    options = CheckOptions(tmp_path / "regions")
    (result,) = check_in_parallel(jobs, options, cache=tmp_path / "m.sqlite")
    mask = Path(result.masks["exclude_mask"])
    before = mask.read_bytes()
    mask.unlink()
    (again,) = check_in_parallel(jobs, options, cache=tmp_path / "m.sqlite")
    assert again == result and mask.read_bytes() == before


def test_a_row_with_a_missing_file_is_not_cached(
    old_images: Path, tmp_path: Path, checked: list[str]
) -> None:
    (old_images / "seg" / "img_0.tif").rename(old_images / "away.tif")
    (result,) = check_in_parallel(
        jobs_of(old_images, 1), CheckOptions(), cache=tmp_path / "m.sqlite"
    )
    assert result.problems[0].text.startswith("file not found")
    (old_images / "away.tif").rename(old_images / "seg" / "img_0.tif")
    (result,) = check_in_parallel(
        jobs_of(old_images, 1), CheckOptions(), cache=tmp_path / "m.sqlite"
    )
    assert not result.problems and len(checked) == 2


def test_a_run_stopped_by_ctrl_c_continues_where_it_was(
    tmp_path: Path, blobs: Blobs, tiff: Tiff
) -> None:
    raw, labels = blobs((8, 64, 64), 5, seed=1)
    for i in range(240):
        for kind, data in (("raw", raw + i), ("seg", labels)):
            os.utime(tiff(tmp_path / kind / f"img_{i}.tif", data), (1e9, 1e9))
    cache = tmp_path / "checks.sqlite"
    words = [f"raw={tmp_path / 'raw'}", f"seg1={tmp_path / 'seg'}", "workers=2"]
    words += [
        f"output={tmp_path / 'dataset'}",
        f"paths.check_cache={cache}",
        "split.leakage=allow",
    ]
    command = [sys.executable, "-m", "cytoloop", "curate", *words]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    for _ in range(15_000):
        time.sleep(0.02)
        if cache.is_file() and _count_results(cache) >= 5:
            break
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=300)[1]
    assert process.returncode == 130 and "Traceback" not in output
    assert 5 <= _count_results(cache) < 240
    assert not (tmp_path / "dataset").exists()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert _count_results(cache) == 240


def _count_results(cache: Path) -> int:
    try:
        with sqlite3.connect(cache, timeout=0.01) as base:  # no wait for the process that writes
            return int(base.execute("select count(*) from results").fetchone()[0])
    except sqlite3.OperationalError:
        return 0
