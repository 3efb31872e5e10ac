"""Many images at once: by threads where they are large, by processes where they are small."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from pathlib import Path
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

LARGE_FILE_BYTES = 4_000_000
"""Bytes of an image file from which threads are faster than processes."""

MIN_JOBS_FOR_PROCESSES = 48
"""Fewer images than this are done in this process: starting others takes seconds."""


def run_parallel(
    function: Callable[[Job], Result], jobs: Sequence[Job], workers: int = 0, threads: bool = False
) -> Iterator[tuple[int, Result]]:
    """Yield each job's number and result as they come; the rest is dropped when the caller stops.

    Parameters
    ----------
    function : callable
        Of a module, so that processes can import it. What it raises is raised here.
    jobs : sequence
        Each with one image in memory at a time.
    workers : int
        0: as many as there are cores.
    threads : bool
        Whether the images are large: then the work is in libraries that let threads run.
    """
    count = min(workers or os.cpu_count() or 1, len(jobs))
    if count <= 1 or (len(jobs) < MIN_JOBS_FOR_PROCESSES and not threads):
        for number, job in enumerate(jobs):
            yield number, function(job)
        return
    pool: Executor
    if threads:
        yield 0, function(jobs[0])  # alone: its imports are not for two threads at once
        pool = ThreadPoolExecutor(count)
    else:
        # spawned, not forked: the libraries that read images have threads of their own
        pool = ProcessPoolExecutor(
            count, multiprocessing.get_context("spawn"), initializer=_leave_stopping_to_parent
        )
    try:
        running: dict[Future[Result], int] = {}
        upcoming = iter(list(enumerate(jobs))[int(threads) :])
        while True:
            while len(running) < 2 * count and (entry := next(upcoming, None)) is not None:
                running[pool.submit(function, entry[1])] = entry[0]
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield running.pop(future), future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def has_large_files(files: Sequence[Path | None]) -> bool:
    """Tell whether image files are large on the whole, from a sample of them."""
    sample = files[:: max(len(files) // 20, 1)]
    sizes = sorted(path.stat().st_size for path in sample if path is not None and path.is_file())
    return bool(sizes) and sizes[len(sizes) // 2] >= LARGE_FILE_BYTES


def _leave_stopping_to_parent() -> None:
    """Ignore Ctrl-C, which reaches every process of the terminal: the parent stops the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
