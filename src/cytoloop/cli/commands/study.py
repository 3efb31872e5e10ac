"""`cytoloop study`: many trainings that differ in chosen factors, and their report."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from cytoloop.cli.app import StoppedError, composition_errors, config_to_dict, expand_words
from cytoloop.composition import separate_hydra
from cytoloop.errors import ConfigError

log = logging.getLogger(__name__)

_NOT_OF_THE_RUN = (
    *("output", "run_name", "paths", "experiment_name", "logger", "task_name", "lock"),
    *("background", "register", "overwrite", "resume", "rerun"),
)
"""Keys of a training that do not change its result: a run is known by all others."""


def _read_all(config: Mapping[str, Any], *readers: Callable[[Mapping[str, Any]], Any]) -> list[Any]:
    """Return what each reader makes of a config; raise the faults of all readers at once."""
    found, problems = [], []
    for read in readers:
        try:
            found.append(read(config))
        except ConfigError as error:
            is_key = error.where not in ("cytoloop study", "settings")
            problems += [f"{error.where}: {one}" if is_key else one for one in error.problems]
    if problems:
        raise ConfigError("cytoloop study", problems, "See `cytoloop study --help`.")
    return found


def run(cfg: Any) -> None:
    """Do the runs that are missing, and write the report."""
    from cytoloop.model.hardware import device_names
    from cytoloop.studies.best import write_best_of
    from cytoloop.studies.conduct import conduct, read_workers
    from cytoloop.studies.launchers import LOCAL, launching
    from cytoloop.studies.plan import plan_runs
    from cytoloop.studies.record import StudyRecord
    from cytoloop.studies.report import PAGE, make_report, report_tables
    from cytoloop.studies.runs import DONE, LOG_FILE
    from cytoloop.studies.search import Search
    from cytoloop.studies.settings import OPTUNA, read_settings
    from cytoloop.studies.tables import RUNS_FILE, write_study
    from cytoloop.terminal import stdout_console
    from cytoloop.tracking.lock import lock_devices

    config = config_to_dict(cfg)
    settings, workers = _read_all(config, read_settings, read_workers)
    output, name = Path(str(cfg.output)).expanduser().absolute(), str(cfg.experiment_name)
    plan = partial(plan_runs, settings, Path(str(cfg.data.path)), output, name, _compose)
    runs = plan()
    write_study(settings, output, runs)
    facts = {"design": settings.design, "base": list(settings.base), "seeds": list(settings.seeds)}
    record = StudyRecord(output, name, facts)
    search = Search(settings, output) if settings.design == OPTUNA else None
    is_here = cfg.launcher == LOCAL  # elsewhere, the launcher gives the devices
    devices = device_names("auto", "auto") if cfg.lock and is_here and cfg.max_runs != 0 else ()
    more = (config["launcher_options"] or {}, config["scheduler"], output)
    try:
        with (
            lock_devices(output, devices),
            launching(str(cfg.launcher), LOG_FILE, *more) as launch,
        ):
            workers = replace(workers, launch=launch)
            runs = conduct(runs, plan, search, workers, record, cfg.max_runs)
    except KeyboardInterrupt as stop:
        text = "stopped; go on with the same command: finished runs are kept, others are resumed"
        raise StoppedError(text) from stop
    if not any(one.status == DONE for one in runs):
        log.info("no run is finished yet, so there is no report; the runs are in %s", RUNS_FILE)
        return
    report = make_report(output)
    write_best_of(settings, runs, report, output)
    record.end(runs, [output / RUNS_FILE, output / PAGE])
    stdout_console.print(report_tables(report))
    log.info("wrote %s", output / PAGE)


def _compose(words: list[str]) -> dict[str, Any]:
    """Return what identifies a training: its composed config without folders and names."""
    from hydra import compose, initialize_config_module
    from omegaconf import OmegaConf

    with separate_hydra(), composition_errors("train", words):
        expanded = expand_words("train", words)
        with initialize_config_module("cytoloop.configs", "train", version_base="1.3"):
            cfg = compose("train", expanded)
    config: Any = OmegaConf.to_container(cfg, resolve=False)
    config["data"].pop("path")  # the hash of its rows and files stands for it
    return {key: value for key, value in config.items() if key not in _NOT_OF_THE_RUN}
