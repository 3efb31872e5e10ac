"""Time and memory of curation: `python benchmarks/curation.py [--json PATH]`.

First 10 000 rows: pairing, decisions, splits and writing, each alone and without reading images;
then a whole curation of them, and a second one that takes all check results from the cache. Then
the checks of large uncompressed stacks, compared with plain reads of the same files. Each part runs
in its own process. Memory is the peak RSS of the process or of its largest child.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

ROWS = 10_000
STACKS, SHAPE = 8, (48, 512, 512)


def make_stack(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a noisy uint16 stack with 300 balls, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(SHAPE, np.uint16)
    ball = sum(
        g**2 for g in np.mgrid[-6:7, -10:11, -10:11] / np.array([6, 10, 10])[:, None, None, None]
    )
    for number in range(1, 301):
        z, y, x = (int(rng.integers(h, n - h)) for n, h in zip(SHAPE, (7, 11, 11), strict=True))
        labels[z - 6 : z + 7, y - 10 : y + 11, x - 10 : x + 11][ball <= 1] = number
    raw = 300 + 900 * (labels > 0) + rng.normal(0, 60, SHAPE)
    return np.clip(raw, 0, 65535).astype(np.uint16), labels


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found


def without_checks(folder: Path) -> dict[str, float]:
    """Return the seconds of each step that reads no image, for 10 000 rows."""
    from cytoloop.curation.decisions.latest import read_decisions
    from cytoloop.curation.pairing.pairs import match_images
    from cytoloop.curation.splits.group_splits import split_rows
    from cytoloop.manifest import COLUMNS, write_manifest

    raw, labels = make_stack(0)
    for kind, data in (("raw", raw[0]), ("seg", labels[6])):
        (folder / kind).mkdir()
        tifffile.imwrite(folder / f"{kind}.tif", data[:64, :64])
        for number in range(ROWS):
            os.link(folder / f"{kind}.tif", folder / kind / f"P{number % 96:02}_{number:05}.tif")
    with (folder / "decisions.csv").open("w") as file:
        file.write("id,decision,base_image,exclude,merge,reason,curator,time\n")
        for number in range(ROWS):
            file.write(f"P{number % 96:02}_{number:05},keep,,,,,Ann,2026-01-01T00:00:00+00:00\n")
    sources = {"raw": folder / "raw", "seg1": folder / "seg"}
    pairing, (pairs, _) = timed(lambda: match_images(sources))
    deciding, _ = timed(lambda: read_decisions(folder / "decisions.csv"))
    ids, groups = [p.id for p in pairs], [p.id[:3] for p in pairs]
    splitting, splits = timed(lambda: split_rows(ids, groups))
    rows = [{"raw": p.raw, "seg1": p.seg1, "id": p.id, "split": splits[p.id]} for p in pairs]
    writing, _ = timed(lambda: write_manifest(folder / "dataset.csv", rows, COLUMNS))
    return {"pairing": pairing, "decisions": deciding, "splits": splitting, "writing": writing}


def whole_curation(folder: Path) -> dict[str, float]:
    """Return the seconds of `curate` on 10 000 rows, without and with cached check results."""
    from cytoloop.curation import CurationSettings, curate

    for path in folder.glob("*.tif"):
        os.utime(path, (1e9, 1e9))  # files younger than 2 s are not cached
    settings = CurationSettings(
        raw=folder / "raw",
        seg1=folder / "seg",
        output=folder / "dataset",
        decisions=folder / "decisions.csv",
        group=r"(?P<group>P\d\d)_",
        leakage="allow",
        workers=0,
    )
    first, _ = timed(lambda: curate(settings, cache=folder / "checks.sqlite"))
    cached, _ = timed(lambda: curate(settings, cache=folder / "checks.sqlite"))
    return {"first": first, "cached": cached}


def plain_tifffile(folder: Path) -> dict[str, float]:
    seconds, _ = timed(lambda: [tifffile.imread(p).nbytes for p in sorted(folder.glob("*/*.tif"))])
    return {"seconds": seconds}


def plain_bioio(folder: Path) -> dict[str, float]:
    from cytoloop.io.read import read_image

    read_image(next(folder.glob("*/*.tif")))  # imports are not timed
    seconds, _ = timed(lambda: [read_image(p).data.nbytes for p in sorted(folder.glob("*/*.tif"))])
    return {"seconds": seconds}


def evict(folder: Path) -> None:
    """Drop the files from the page cache, where the system allows it."""
    for path in folder.glob("*/*.tif"):
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def cold(work: Callable[..., dict[str, float]], folder: Path, *given: Any) -> dict[str, float]:
    evict(folder)
    return work(folder, *given)


def checks(folder: Path, workers: int = 1, metrics: bool = True) -> dict[str, float]:
    from cytoloop.curation.checks.check_cache import CheckJob
    from cytoloop.curation.checks.parallel import check_in_parallel
    from cytoloop.curation.checks.row import CheckOptions, check_row
    from cytoloop.curation.region_masks import Regions
    from cytoloop.manifest import Row
    from cytoloop.workers.engine import Engine

    rows = [
        Row({"id": p.stem, "raw": str(p), "seg1": str(folder / "seg" / p.name)})
        for p in sorted((folder / "raw").glob("*.tif"))
    ]
    check_row(rows[0], options=CheckOptions())  # imports are not timed
    if metrics:
        jobs = [CheckJob(row, Regions()) for row in rows]
        seconds, found = timed(
            lambda: check_in_parallel(jobs, CheckOptions(), Engine(workers=workers))
        )
    else:
        seconds, found = timed(lambda: [check_row(row) for row in rows])
    if any(one.problems for one in found):
        raise RuntimeError(f"the benchmark's own images are bad: {found[0].problems}")
    return {"seconds": seconds}


def run(work: Callable[..., dict[str, float]], *given: Any) -> dict[str, float]:
    """Return the result of a function in a new process, with the peak memory in GiB."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_child, args=(queue, work, given))
    process.start()
    found: dict[str, float] = queue.get()
    process.join()
    return found


def _child(queue: Any, work: Callable[..., dict[str, float]], given: tuple[Any, ...]) -> None:
    logging.disable(logging.WARNING)
    found = work(*given)
    own, others = (
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    queue.put({**found, "peak_gib": max(own, others) / 2**20})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    path = parser.parse_args().json
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results["rows"] = run(without_checks, folder)
        results["whole"] = run(whole_curation, folder)
    print(f"{ROWS} rows, without reading images")
    for step, seconds in results["rows"].items():
        if step != "peak_gib":
            print(f"  {step:12} {seconds:7.2f} s {ROWS / seconds:10.0f} rows/s")
    print(f"  peak memory  {results['rows']['peak_gib']:7.2f} GiB")
    whole = results["whole"]
    print(f"curate, tiny images: {whole['first']:.1f} s, from the cache {whole['cached']:.1f} s")
    print(f"  peak memory  {whole['peak_gib']:7.2f} GiB")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(STACKS):
            raw, labels = make_stack(number)
            for kind, data in (("raw", raw), ("seg", labels)):
                (folder / kind).mkdir(exist_ok=True)
                tifffile.imwrite(
                    folder / kind / f"s{number}.tif",
                    data,
                    imagej=True,
                    resolution=(3, 3),
                    metadata={"axes": "ZYX", "unit": "um", "spacing": 1.0},
                )
        size = sum(p.stat().st_size for p in folder.glob("*/*.tif")) / 1e6
        works: list[tuple[str, Callable[..., dict[str, float]], tuple[Any, ...]]] = [
            ("read, tifffile", plain_tifffile, (folder,)),
            ("read, our reader (bioio)", plain_bioio, (folder,)),
            ("checks of training", checks, (folder, 1, False)),
            ("checks and metrics, 1 thread", checks, (folder, 1)),
            ("checks and metrics, 2 threads", checks, (folder, 2)),
            ("read from disk, tifffile", cold, (plain_tifffile, folder)),
            ("read from disk, our reader", cold, (plain_bioio, folder)),
            ("checks and metrics from disk", cold, (checks, folder, 2)),
        ]
        results["checks"] = {title: run(work, *given) for title, work, given in works}
    reference = results["checks"]["read, our reader (bioio)"]["seconds"]
    print(
        f"{STACKS} uncompressed stacks of {SHAPE} with labels, {size:.0f} MB, from the page cache"
    )
    for title, found in results["checks"].items():
        seconds = found["seconds"]
        print(
            f"  {title:32} {seconds:6.2f} s {size / seconds:7.0f} MB/s "
            f"{seconds / reference:5.2f} x {found['peak_gib']:6.2f} GiB"
        )
    if path:
        path.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
