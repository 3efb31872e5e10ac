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
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

LARGE = 4_000_000
"""Bytes of an image file from which threads are faster than processes."""

FEW = 48
"""Fewer images than this are done in this process: starting others takes seconds."""


def run_parallel(
    function: Callable[[Job], Result], jobs: Sequence[Job], workers: int = 0, large: bool = False
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
    large : bool
        Whether the images are large: then the work is in libraries that let threads run.
    """
    count = min(workers or os.cpu_count() or 1, len(jobs))
    if count <= 1 or (len(jobs) < FEW and not large):
        for number, job in enumerate(jobs):
            yield number, function(job)
        return
    pool: Executor
    if large:
        yield 0, function(jobs[0])  # alone: its imports are not for two threads at once
        pool = ThreadPoolExecutor(count)
    else:
        # spawned, not forked: the libraries that read images have threads of their own
        pool = ProcessPoolExecutor(
            count, multiprocessing.get_context("spawn"), initializer=_leave_stopping_to_parent
        )
    try:
        running: dict[Future[Result], int] = {}
        upcoming = iter(list(enumerate(jobs))[int(large) :])
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


def are_large(files: Sequence[Path | None]) -> bool:
    """Tell whether image files are large on the whole, from a sample of them."""
    sample = files[:: max(len(files) // 20, 1)]
    sizes = sorted(path.stat().st_size for path in sample if path is not None and path.is_file())
    return bool(sizes) and sizes[len(sizes) // 2] >= LARGE


@contextmanager
def progress_bar(title: str, total: int, shown: bool) -> Iterator[Callable[[], None]]:
    """Show a bar on the terminal while the block runs; what it yields moves it on by one."""
    if not shown:
        yield lambda: None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from cytoloop.terminal import stderr_console

    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=stderr_console, transient=True, disable=not stderr_console.is_terminal
    ) as progress:
        task = progress.add_task("", total=total)
        yield lambda: progress.advance(task)


def _leave_stopping_to_parent() -> None:
    """Ignore Ctrl-C, which reaches every process of the terminal: the parent stops the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
