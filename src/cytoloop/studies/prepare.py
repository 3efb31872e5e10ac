"""What a study needs before it starts: settings, workers and runs, with all faults at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from cytoloop.errors import Faults
from cytoloop.manifest import read_dataset
from cytoloop.studies.conduct import read_workers
from cytoloop.studies.execute import Workers
from cytoloop.studies.plan import Compose, plan_runs
from cytoloop.studies.runs import Run
from cytoloop.studies.settings import StudySettings, read_settings

_GENERAL = ("settings",)
"""Places that say nothing: the problem names the key."""


@dataclass(frozen=True)
class Prepared:
    """A study that can start.

    Attributes
    ----------
    settings : StudySettings
    workers : Workers
    plan : callable
        Returns the runs, also of combinations that a search chose: ``plan(chosen=...)``.
    runs : list of Run
    """

    settings: StudySettings
    workers: Workers
    plan: Callable[..., list[Run]]
    runs: list[Run]


def prepare_study(config: Mapping[str, Any], output: Path, compose: Compose) -> Prepared:
    """Return a study from the config of `cytoloop study`.

    Parameters
    ----------
    config : mapping
        Plain values.
    output : Path
        Folder of the study.
    compose : callable
        See `cytoloop.studies.plan.Compose`.

    Raises
    ------
    ConfigError
        All faults of the keys, the launcher, the data set and the levels.
    """
    faults = Faults()
    data = Path(str(config["data"]["path"]))
    settings = faults.attempt(partial(read_settings, config))
    workers = faults.attempt(partial(read_workers, config))
    if settings is None:  # without factors there are no runs, but the data set can be read
        faults.attempt(partial(read_dataset, data))
        faults.raise_all("cytoloop study", _GENERAL)
    experiment = str(config["experiment_name"])
    plan = partial(plan_runs, cast(StudySettings, settings), data, output, experiment, compose)
    runs = faults.attempt(plan)
    faults.raise_all("cytoloop study", _GENERAL)
    return Prepared(
        cast(StudySettings, settings), cast(Workers, workers), plan, cast(list[Run], runs)
    )
