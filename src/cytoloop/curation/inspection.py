"""Inspection: the checks of many rows, by several processes, remembered from run to run.

What was found is kept in a small database, row by row as it comes, so that a run that was stopped
goes on where it was. A finding is kept under the hashes of all the row's files and what was asked
of them; a file whose size and time of change are those of an earlier run is not hashed again.
"""

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
from contextlib import closing, contextmanager
from pathlib import Path

from cytoloop.curation.checks import Extras, check_row
from cytoloop.curation.facts import Facts
from cytoloop.curation.memory import Candidate, Memory

_LARGE = 4_000_000
"""Bytes of a raw file from which threads are faster than processes."""

_FEW = 8
"""Fewer rows than this are checked in this process: starting others takes longer."""


def inspect_candidates(
    candidates: Sequence[Candidate],
    extras: Extras,
    workers: int = 0,
    cache: Path | None = None,
    progress: bool = False,
) -> list[Facts]:
    """Return the facts of each candidate, in their order; nothing is raised for a bad one.

    Parameters
    ----------
    candidates : sequence of Candidate
    extras : Extras
    workers : int
        Processes, each with one image in memory at a time; 0: as many as there are cores.
    cache : Path, optional
        Database of findings; None: nothing is remembered.
    progress : bool
        Show a bar on the terminal.
    """
    found: dict[int, Facts] = {}
    with closing(Memory(cache)) as memory, _bar(len(candidates), progress) as advance:
        waiting = []
        for number, candidate in enumerate(candidates):
            known = memory.recall(candidate, extras)
            if known is None:
                waiting.append(number)
            else:
                found[number] = known
                advance()
        jobs = [candidates[number] for number in waiting]
        for position, facts in _run(jobs, extras, workers):
            found[waiting[position]] = facts
            memory.keep(jobs[position], extras, facts)
            advance()
    return [found[number] for number in range(len(candidates))]


def _run(jobs: Sequence[Candidate], extras: Extras, workers: int) -> Iterator[tuple[int, Facts]]:
    """Yield the facts of each job with its number, as they come."""
    count = min(workers or os.cpu_count() or 1, len(jobs))
    large = _are_large(jobs)
    if count <= 1 or (len(jobs) < _FEW and not large):
        for number, job in enumerate(jobs):
            yield number, _check(job, extras)
        return
    pool: Executor
    if large:  # the work is in libraries that let threads run; nothing has to be started
        yield 0, _check(jobs[0], extras)  # alone: its imports are not for two threads at once
        pool = ThreadPoolExecutor(count)
    else:
        # spawned, not forked: the libraries that read images have threads of their own
        pool = ProcessPoolExecutor(
            count, multiprocessing.get_context("spawn"), initializer=_leave_stopping_to_parent
        )
    try:
        running: dict[Future[Facts], int] = {}
        upcoming = iter(list(enumerate(jobs))[int(large) :])
        while True:
            while len(running) < 2 * count and (entry := next(upcoming, None)) is not None:
                running[pool.submit(_check, entry[1], extras)] = entry[0]
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield running.pop(future), future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _are_large(jobs: Sequence[Candidate]) -> bool:
    """Tell whether the raw files are large on the whole: then numpy works, not Python."""
    sizes = []
    for job in jobs[:: max(len(jobs) // 20, 1)]:
        path = job.row.file("raw")
        if path is not None and path.is_file():
            sizes.append(path.stat().st_size)
    return bool(sizes) and sorted(sizes)[len(sizes) // 2] >= _LARGE


def _check(candidate: Candidate, extras: Extras) -> Facts:
    return check_row(candidate.row, regions=candidate.regions, extras=extras)


def _leave_stopping_to_parent() -> None:
    """Ignore Ctrl-C, which reaches every process of the terminal: the parent stops the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _bar(total: int, shown: bool) -> Iterator[Callable[[], None]]:
    """Show a bar of so many rows; what it yields moves it on by one."""
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

    from cytoloop.terminal import events

    columns = (
        TextColumn("checking images"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=events, transient=True, disable=not events.is_terminal
    ) as progress:
        task = progress.add_task("", total=total)
        yield lambda: progress.advance(task)
