"""Inspection: the checks of many rows, by several processes, remembered from run to run.

What was found is kept in a small database, row by row as it comes, so that a run that was stopped
goes on where it was. A finding is kept under the hashes of all the row's files and what was asked
of them; a file whose size and time of change are those of an earlier run is not hashed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from cytoloop.curation.checks.check_cache import Candidate, Memory, file_names
from cytoloop.curation.checks.facts import Facts
from cytoloop.curation.checks.rows import Extras, check_row
from cytoloop.errors import CytoloopError
from cytoloop.io.remote import fetch_all
from cytoloop.terminal import progress_bar
from cytoloop.workers.local import has_large_files, run_parallel


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
    fetch_all((name for one in candidates for name in file_names(one)), progress)
    with (
        closing(Memory(cache)) as memory,
        progress_bar("checking images", len(candidates), progress) as advance,
    ):
        waiting = []
        for number, candidate in enumerate(candidates):
            known = memory.recall(candidate, extras)
            if known is None:
                waiting.append(number)
            else:
                found[number] = known
                advance()
        jobs = [candidates[number] for number in waiting]
        large = has_large_files([_raw(job) for job in jobs])
        check = partial(_check, extras=extras)
        for position, facts in run_parallel(check, jobs, workers, large):
            found[waiting[position]] = facts
            memory.keep(jobs[position], extras, facts)
            advance()
    return [found[number] for number in range(len(candidates))]


def _check(candidate: Candidate, extras: Extras) -> Facts:
    return check_row(candidate.row, regions=candidate.regions, extras=extras)


def _raw(candidate: Candidate) -> Path | None:
    """Return the raw file, None where its URL leads nowhere."""
    try:
        return candidate.row.file("raw")
    except CytoloopError:
        return None
