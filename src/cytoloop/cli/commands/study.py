"""`cytoloop study`: many trainings that differ in chosen factors, and their report."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cytoloop.cli.app import StoppedError, config_to_dict
from cytoloop.cli.compose import composition_errors, expand_words, overlay_folder
from cytoloop.composition import separate_hydra
from cytoloop.home import expand_home

if TYPE_CHECKING:
    from cytoloop.studies.identity import Composed

log = logging.getLogger(__name__)

_NOT_OF_THE_RUN = (
    *("output", "run_name", "paths", "experiment_name", "logger", "task_name", "lock"),
    *("background", "register", "overwrite", "resume", "rerun"),
)
"""Keys of a training that do not change its result: a run is known by all others."""


def run(cfg: Any) -> None:
    """Do the runs that are missing, and write the report."""
    from cytoloop.model.hardware import device_names
    from cytoloop.studies.best import write_best_of
    from cytoloop.studies.conduct import conduct
    from cytoloop.studies.launchers import LOCAL, launching
    from cytoloop.studies.prepare import prepare_study
    from cytoloop.studies.record import StudyRecord
    from cytoloop.studies.report import PAGE, make_report, report_tables
    from cytoloop.studies.runs import DONE, LOG_FILE
    from cytoloop.studies.search import Search
    from cytoloop.studies.settings import OPTUNA
    from cytoloop.studies.tables import RUNS_FILE, write_study
    from cytoloop.terminal import stdout_console
    from cytoloop.tracking.lock import lock_devices

    config = config_to_dict(cfg)
    output, name = expand_home(str(cfg.output)).absolute(), str(cfg.experiment_name)
    prepared = prepare_study(config, output, _compose)
    settings, runs = prepared.settings, prepared.runs
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
            workers = replace(prepared.workers, launch=launch)
            runs = conduct(runs, prepared.plan, search, workers, record, cfg.max_runs)
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


def _compose(words: list[str]) -> Composed:
    """Return what identifies a training: its config without folders and names, the site's YAMLs."""
    from hydra import compose, initialize_config_module
    from omegaconf import OmegaConf

    from cytoloop.studies.identity import Composed, site_content

    with separate_hydra(), composition_errors("train", words):
        expanded = expand_words("train", words)
        with initialize_config_module("cytoloop.configs", "train", version_base="1.3"):
            cfg = compose("train", expanded, return_hydra_config=True)
    config: Any = OmegaConf.to_container(cfg, resolve=False)
    choices = config.pop("hydra")["runtime"]["choices"]
    config["data"].pop("path")  # the hash of its rows and files stands for it
    kept = {key: value for key, value in config.items() if key not in _NOT_OF_THE_RUN}
    has_start = choices.get("experiment") == "auto" or "start" in (config.get("_aux") or {})
    if kept.get("init_from") == "none" or (kept.get("init_from") == "auto" and not has_start):
        kept["init_from"] = None  # from scratch, however it is written
    return Composed(kept, site_content(choices, overlay_folder()))
