"""Inspection: the checks of many rows, by several processes, remembered from run to run.

What was found is kept in a small database, row by row as it comes, so that a run that was stopped
goes on where it was. A finding is kept under the hashes of all the row's files and what was asked
of them; a file whose size and time of change are those of an earlier run is not hashed again.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from cytoloop.curation.checks import Extras, check_row
from cytoloop.curation.facts import Facts
from cytoloop.curation.masks import Regions
from cytoloop.manifest import CHOICE_COLUMNS, Row

_VERSION = 2
"""Of the checks and figures: findings of another version are not used."""

_SETTLED_NS = 2_000_000_000
"""A file changed this shortly before it was hashed may have changed since, unseen."""

_FEW = 8
"""Fewer rows than this are checked in this process: starting others takes longer."""


@dataclass(frozen=True)
class Candidate:
    """A row that is to be inspected, with what its masks are made from."""

    row: Row
    regions: Regions


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
    with closing(_Memory(cache)) as memory, _bar(len(candidates), progress) as advance:
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
    if count <= 1 or len(jobs) < _FEW:
        for number, job in enumerate(jobs):
            yield number, _check(job, extras)
        return
    # spawned, not forked: the libraries that read images have threads of their own
    pool = ProcessPoolExecutor(
        count, multiprocessing.get_context("spawn"), initializer=_leave_stopping_to_parent
    )
    try:
        running: dict[Future[Facts], int] = {}
        upcoming = iter(enumerate(jobs))
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


def _check(candidate: Candidate, extras: Extras) -> Facts:
    return check_row(candidate.row, regions=candidate.regions, extras=extras)


def _leave_stopping_to_parent() -> None:
    """Ignore Ctrl-C, which reaches every process of the terminal: the parent stops the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class _Memory:
    """The database of findings; one that keeps nothing where no path is given."""

    def __init__(self, path: Path | None) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self.base = sqlite3.connect(":memory:" if path is None else path, timeout=60)
        self.base.execute("create table if not exists facts (key text primary key, facts text)")
        self.base.execute(
            "create table if not exists known_files "
            "(path text primary key, state text, settled int, hash text)"
        )

    def close(self) -> None:
        self.base.close()

    def recall(self, candidate: Candidate, extras: Extras) -> Facts | None:
        """Return what is known of a candidate, None if its files were not seen like this."""
        files = _files(candidate)
        hashes = {path: self._hash(path) for path in files}
        if not hashes or None in hashes.values():
            return None
        key = _key(candidate, extras, {p: str(h) for p, h in hashes.items()})
        line = self.base.execute("select facts from facts where key = ?", (key,)).fetchone()
        if line is None:
            return None
        facts = Facts.from_json(line[0])
        # a mask that was written then may have been swept away since
        if any(file and not Path(file).exists() for file in facts.masks.values()):
            return None
        return replace(facts, id=candidate.row.id)

    def keep(self, candidate: Candidate, extras: Extras, facts: Facts) -> None:
        """Write down what was found, and the hashes by which it was found."""
        paths = _files(candidate)
        hashes = {
            str(candidate.row.file(column)): digest for column, digest in facts.sha256.items()
        } | facts.parts
        if set(hashes) != set(paths):
            return  # a file is missing; it may come
        with self.base:
            for path, digest in hashes.items():
                state = _state(path)
                if state is not None:
                    self.base.execute(
                        "insert or replace into known_files values (?, ?, ?, ?)",
                        (path, state, _settled(path), digest),
                    )
            self.base.execute(
                "insert or replace into facts values (?, ?)",
                (_key(candidate, extras, hashes), facts.to_json()),
            )

    def _hash(self, path: str) -> str | None:
        """Return the hash of a file that is as it was, None for another."""
        state = _state(path)
        line = self.base.execute("select * from known_files where path = ?", (path,)).fetchone()
        if state is None or line is None or state != line[1] or not line[2]:
            return None
        return str(line[3])


def _settled(path: str) -> bool:
    """Tell whether a file was last changed long enough ago for a later change to show."""
    try:
        members = [Path(path), *Path(path).rglob("*")] if Path(path).is_dir() else [Path(path)]
        newest = max(member.stat().st_mtime_ns for member in members)
    except OSError:
        return False
    return newest < time.time_ns() - _SETTLED_NS


def _files(candidate: Candidate) -> list[str]:
    named = [candidate.row.file(column) for column in ("raw", "seg1", "seg2")]
    return [*(str(path) for path in named if path), *candidate.regions.effective().files]


def _state(path: str) -> str | None:
    """Return what changes when a file does: size, inode and times; of all in a folder (OME-Zarr).

    Two files of one size and time that change names have other inodes, or times of change.
    """
    try:
        members = sorted(Path(path).rglob("*")) if Path(path).is_dir() else [Path(path)]
        found = [member.stat() for member in members]
    except OSError:
        return None
    facts = [(m.st_size, m.st_mtime_ns, m.st_ctime_ns, m.st_ino) for m in found]
    return hashlib.sha256(repr(facts).encode()).hexdigest() if len(facts) > 1 else repr(facts)


def _key(candidate: Candidate, extras: Extras, hashes: dict[str, str]) -> str:
    """Return the digest of all that the facts of a candidate depend on."""
    row, regions = candidate.row, candidate.regions.effective()
    # messages name files, so their names count too
    named = {c: (Path(row[c]).name, hashes.get(str(row.file(c)))) for c in ("raw", "seg1", "seg2")}
    parts = [
        [(Path(part).name, hashes[part]) if part in hashes else part for part in kind]
        for kind in (regions.exclude, regions.merge)
    ]
    values = [_VERSION, named, parts, [row[c] for c in CHOICE_COLUMNS], extras.instances]
    values += [str(extras.folder), row.id] if any(parts) else []
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


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
