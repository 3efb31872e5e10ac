"""Inspection: the same facts by any number of processes, remembered, and never stale."""

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

from cytoloop.curation.checks import check_cache, run
from cytoloop.curation.checks.check_cache import Candidate
from cytoloop.curation.checks.facts import Facts
from cytoloop.curation.checks.rows import Extras
from cytoloop.curation.checks.run import inspect_candidates
from cytoloop.curation.region_masks import Regions
from cytoloop.manifest import Row
from cytoloop.workers import local

Blobs = Callable[..., tuple[np.ndarray, np.ndarray]]
Tiff = Callable[[Path, np.ndarray], Path]


def candidates(folder: Path, count: int = 5, **cells: str) -> list[Candidate]:
    return [
        Candidate(
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
def settled(images_2d: Path) -> Path:
    """Images that were changed long ago: young files are hashed again, to be sure."""
    for path in images_2d.rglob("*.tif"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    return images_2d


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the rows that were really looked at."""
    seen: list[str] = []
    real = run.check_row

    def watch(row: Row, **given: object) -> Facts:
        seen.append(row.id)
        return real(row, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(run, "check_row", watch)
    return seen


def test_inspection_by_processes_finds_what_one_finds(
    images_2d: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "MIN_JOBS_FOR_PROCESSES", 2)
    jobs = candidates(images_2d)
    (images_2d / "seg" / "img_3.tif").write_bytes(b"no image")
    alone = inspect_candidates(jobs, Extras(), workers=1)
    assert inspect_candidates(jobs, Extras(), workers=2) == alone
    assert [bool(one.problems) for one in alone] == [False, False, False, True, False]


def test_inspection_by_threads_finds_what_one_finds(
    images_2d: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "LARGE_FILE_BYTES", 0)
    jobs = candidates(images_2d)
    assert inspect_candidates(jobs, Extras(), workers=3) == inspect_candidates(
        jobs, Extras(), workers=1
    )


def test_inspection_remembers_and_looks_again_at_what_changed(
    settled: Path, tmp_path: Path, checked: list[str], blobs: Blobs, tiff: Tiff
) -> None:
    memory, extras = tmp_path / "deep" / "checks.sqlite", Extras()
    first = inspect_candidates(candidates(settled), extras, cache=memory)
    assert len(checked) == 5
    assert inspect_candidates(candidates(settled), extras, cache=memory) == first
    assert len(checked) == 5
    tiff(settled / "seg" / "img_1.tif", blobs((48, 56), 3, seed=9)[1])
    (settled / "raw" / "img_2.tif").touch()
    later = inspect_candidates(candidates(settled), extras, cache=memory)
    assert sorted(checked[5:]) == ["img_1", "img_2"]
    assert later[1].objects == 3 and later[2] == first[2]
    del checked[:]
    inspect_candidates(candidates(settled, channel_seg1="0"), extras, cache=memory)
    inspect_candidates(candidates(settled), Extras(instances=True), cache=memory)
    assert len(checked) == 10


def test_inspection_forgets_findings_of_another_version(
    settled: Path, tmp_path: Path, checked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    inspect_candidates(candidates(settled), Extras(), cache=tmp_path / "m.sqlite")
    monkeypatch.setattr(check_cache, "_VERSION", -1)
    inspect_candidates(candidates(settled), Extras(), cache=tmp_path / "m.sqlite")
    assert len(checked) == 10


def test_inspection_writes_a_mask_again_that_was_swept_away(settled: Path, tmp_path: Path) -> None:
    for name, at in (("a", 0), ("b", 20)):
        box = np.array([[[at, 0], [at, 9], [at + 9, 9], [at + 9, 0]]], float)
        np.save(tmp_path / f"{name}.npy", box)
        os.utime(tmp_path / f"{name}.npy", (1_000_000_000, 1_000_000_000))
    regions = Regions((str(tmp_path / "a.npy"), str(tmp_path / "b.npy")))
    jobs = [Candidate(candidates(settled, 1)[0].row, regions)]
    extras = Extras(tmp_path / "regions")
    (facts,) = inspect_candidates(jobs, extras, cache=tmp_path / "m.sqlite")
    mask = Path(facts.masks["exclude_mask"])
    before = mask.read_bytes()
    mask.unlink()
    (again,) = inspect_candidates(jobs, extras, cache=tmp_path / "m.sqlite")
    assert again == facts and mask.read_bytes() == before


def test_inspection_of_a_missing_file_is_not_remembered(
    settled: Path, tmp_path: Path, checked: list[str]
) -> None:
    (settled / "seg" / "img_0.tif").rename(settled / "away.tif")
    (facts,) = inspect_candidates(candidates(settled, 1), Extras(), cache=tmp_path / "m.sqlite")
    assert facts.problems[0].text.startswith("file not found")
    (settled / "away.tif").rename(settled / "seg" / "img_0.tif")
    (facts,) = inspect_candidates(candidates(settled, 1), Extras(), cache=tmp_path / "m.sqlite")
    assert not facts.problems and len(checked) == 2


def test_inspection_stopped_by_ctrl_c_goes_on_where_it_was(
    tmp_path: Path, blobs: Blobs, tiff: Tiff
) -> None:
    raw, labels = blobs((8, 64, 64), 5, seed=1)
    for i in range(60):
        for kind, data in (("raw", raw + i), ("seg", labels)):
            os.utime(tiff(tmp_path / kind / f"img_{i}.tif", data), (1e9, 1e9))
    memory = tmp_path / "checks.sqlite"
    words = [f"raw={tmp_path / 'raw'}", f"seg1={tmp_path / 'seg'}", "workers=2"]
    words += [
        f"output={tmp_path / 'dataset'}",
        f"paths.check_cache={memory}",
        "split.leakage=allow",
    ]
    command = [sys.executable, "-m", "cytoloop", "curate", *words]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    for _ in range(600):
        time.sleep(0.1)
        if check_cache.is_file() and _remembered(memory) >= 5:
            break
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "Traceback" not in told
    assert 5 <= _remembered(memory) < 60
    assert not (tmp_path / "dataset").exists()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert _remembered(memory) == 60


def _remembered(memory: Path) -> int:
    try:
        with sqlite3.connect(memory) as base:
            return int(base.execute("select count(*) from facts").fetchone()[0])
    except sqlite3.OperationalError:
        return 0
