"""Checks of many rows in several processes, with a cache of results.

Each result is stored as soon as it is there, so a run that was stopped continues where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from cytoloop.curation.checks.check_cache import CheckCache, CheckJob
from cytoloop.curation.checks.result import CheckResult
from cytoloop.curation.checks.row import CheckOptions, check_row
from cytoloop.errors import CytoloopError
from cytoloop.io.remote import fetch_all
from cytoloop.terminal import progress_bar
from cytoloop.workers.engine import Engine
from cytoloop.workers.local import has_large_files


def check_in_parallel(
    jobs: Sequence[CheckJob],
    options: CheckOptions,
    engine: Engine | None = None,
    cache: Path | None = None,
    progress: bool = False,
) -> list[CheckResult]:
    """Return the result of each job, in the order of the jobs; no problem is raised.

    Parameters
    ----------
    jobs : sequence of CheckJob
    options : CheckOptions
    engine : Engine, optional
        Which processes check; default: one per core.
    cache : Path, optional
        Database of results; None stores nothing.
    progress : bool
        Show a progress bar on the terminal.
    """
    engine = engine or Engine(workers=0)
    results: dict[int, CheckResult] = {}
    fetch_all((name for job in jobs for name in job.file_names()), progress)
    with (
        closing(CheckCache(cache)) as cached,
        progress_bar("checking images", len(jobs), progress) as advance,
    ):
        pending = []
        for number, job in enumerate(jobs):
            known = cached.get(job, options)
            if known is None:
                pending.append(number)
            else:
                results[number] = known
                advance()
        to_check = [jobs[number] for number in pending]
        large = has_large_files([_raw_file(job) for job in to_check])
        check = partial(_check, options=options)
        for position, result in engine.run(check, to_check, large):
            results[pending[position]] = result
            cached.put(to_check[position], options, result)
            advance()
    return [results[number] for number in range(len(jobs))]


def _check(job: CheckJob, options: CheckOptions) -> CheckResult:
    return check_row(job.row, regions=job.regions, options=options)


def _raw_file(job: CheckJob) -> Path | None:
    """Return the raw file, None where its URL cannot be read."""
    try:
        return job.row.file("raw")
    except CytoloopError:
        return None
