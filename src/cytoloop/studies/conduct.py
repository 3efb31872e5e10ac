"""A whole study: its slots, its runs in their order, and the rounds of a search."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from cytoloop.bounds import Bounds, raise_faults
from cytoloop.studies.execute import Workers, execute
from cytoloop.studies.launchers import LAUNCHERS, launcher_fault
from cytoloop.studies.record import StudyRecord
from cytoloop.studies.runs import OPEN, STARTED, Run, open_runs
from cytoloop.studies.search import Search
from cytoloop.studies.tables import write_runs
from cytoloop.workers.cores import list_cores, usable_cores

log = logging.getLogger(__name__)


def conduct(
    runs: list[Run],
    plan: Callable[..., list[Run]],
    search: Search | None,
    workers: Workers,
    record: StudyRecord,
    max_runs: int | None,
) -> list[Run]:
    """Do the runs that are left, or those that a search suggests; return all runs.

    Parameters
    ----------
    runs : list of Run
        Of the design.
    plan : callable
        Returns the runs of the combinations ``chosen``.
    search : Search or None
    workers : Workers
    record : StudyRecord
    max_runs : int or None
        Do at most so many now.
    """
    folder, factors = record.folder, list(runs[0].combination.levels)
    left = math.inf if max_runs is None else max_runs
    workers = replace(workers, before=record.send)
    if search is not None:
        workers = replace(workers, is_hopeless=search.is_hopeless)
    while True:
        asked = search.ask(workers.count if left else 0) if search else []
        runs = plan(chosen=search.known or None) if search else runs
        for one in runs:
            one.note_keys()
            if one.adopt() or record.lacks(one):
                record.add(one)
        to_do = open_runs(runs)
        now = to_do[: int(min(left, len(to_do)))]
        log.info("%d runs: %d to do, %d now", len(runs), len(to_do), len(now))

        def ended(one: Run, runs: list[Run] = runs) -> None:
            record.add(one)
            write_runs(runs, factors, folder)
            log.info("%s: %s; %d runs to do", one.status, one.title, len(open_runs(runs)))

        try:
            execute(now, workers, ended)
        finally:
            write_runs(runs, factors, folder)
        left -= len(now)
        if search is None:
            return runs
        search.tell(runs)
        if not asked or any(one.status in (OPEN, STARTED) for one in now):
            return runs


def read_workers(config: Mapping[str, Any]) -> Workers:
    """Return the slots that the config of `cytoloop study` grants.

    Raises
    ------
    ConfigError
        All values out of their bounds.
    """
    bounds = (
        Bounds("workers", 1, 256),
        Bounds("max_runs", 0, 1_000_000, also=(None,)),
        Bounds("max_hours", 0, 10_000, whole=False, also=(None,)),
    )
    faults = [(one.key, fault) for one in bounds if (fault := one.fault(config[one.key]))]
    if (launcher := config["launcher"]) not in LAUNCHERS:
        faults.append(("launcher", f"is {launcher}, expected {', '.join(LAUNCHERS)}"))
    elif fault := launcher_fault(launcher, config["scheduler"]):
        faults.append((f"launcher={launcher}", fault))
    raise_faults(faults, "Take a value that is allowed.")
    seconds = None if config["max_hours"] is None else float(config["max_hours"]) * 3600
    each = max(1, usable_cores() // int(config["workers"]))
    return Workers(int(config["workers"]), each, list_cores(), torch.cuda.device_count(), seconds)
