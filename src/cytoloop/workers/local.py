"""Process many images at once: in threads if they are large, in processes if they are small."""

from __future__ import annotations

import multiprocessing
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

from cytoloop.workers.cores import usable_cores

Job = TypeVar("Job")
Result = TypeVar("Result")

LARGE_FILE_BYTES = 4_000_000
"""Image files of this size are processed faster by threads than by processes."""

MIN_JOBS_FOR_PROCESSES = 48
"""Fewer jobs are done in this process, because starting processes takes seconds."""


def run_parallel(
    function: Callable[[Job], Result], jobs: Sequence[Job], workers: int = 0, threads: bool = False
) -> Iterator[tuple[int, Result]]:
    """Yield the number and the result of each job, in the order in which the jobs finish.

    If the caller stops iterating, the remaining jobs are cancelled.

    Parameters
    ----------
    function : callable
        Function of a module, so that processes can import it. Its exceptions are raised here.
    jobs : sequence
        Arguments of `function`; each job holds one image in memory at a time.
    workers : int
        Number of threads or processes; 0: the number of cores.
    threads : bool
        Use threads instead of processes: for large images, whose libraries release the GIL.
    """
    count = min(workers or usable_cores(), len(jobs))
    if count <= 1 or (len(jobs) < MIN_JOBS_FOR_PROCESSES and not threads):
        for number, job in enumerate(jobs):
            yield number, function(job)
        return
    pool: Executor
    if threads:
        yield 0, function(jobs[0])  # before the others: imports in two threads may clash
        pool = ThreadPoolExecutor(count)
    else:
        # spawn, not fork: the libraries that read images have threads
        pool = ProcessPoolExecutor(
            count, multiprocessing.get_context("spawn"), initializer=_ignore_ctrl_c
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
    """Return whether the median file is at least `LARGE_FILE_BYTES`; about 20 files are sampled."""
    sample = files[:: max(len(files) // 20, 1)]
    sizes = sorted(path.stat().st_size for path in sample if path is not None and path.is_file())
    return bool(sizes) and sizes[len(sizes) // 2] >= LARGE_FILE_BYTES


def _ignore_ctrl_c() -> None:
    """Ignore Ctrl-C in a worker: the parent process receives it too, and stops the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
