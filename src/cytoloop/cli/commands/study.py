"""`cytoloop study`: many trainings that differ in chosen factors, and their report."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cytoloop.cli.app import StoppedError, composition_errors, config_to_dict, expand_words
from cytoloop.composition import separate_hydra
from cytoloop.errors import ConfigError, CytoloopError, ManifestError
from cytoloop.manifest import dataset_hash, read_dataset

if TYPE_CHECKING:
    from cytoloop.studies.execute import Workers
    from cytoloop.studies.report import StudyReport
    from cytoloop.studies.runs import Run
    from cytoloop.studies.settings import StudySettings

log = logging.getLogger(__name__)

_NOT_OF_THE_RUN = (
    *("output", "run_name", "paths", "experiment_name", "logger", "task_name", "lock"),
    *("background", "register", "overwrite", "resume", "rerun"),
)
"""Keys of a training that do not change its result: a run is known by all others."""


def run(cfg: Any) -> None:
    """Do the runs that are missing, and write the report."""
    from cytoloop.model.hardware import device_names
    from cytoloop.studies.execute import execute
    from cytoloop.studies.record import StudyRecord
    from cytoloop.studies.report import PAGE, make_report, report_tables
    from cytoloop.studies.runs import DONE, open_runs
    from cytoloop.studies.settings import read_settings
    from cytoloop.studies.tables import RUNS_FILE, write_runs, write_study
    from cytoloop.terminal import stdout_console
    from cytoloop.tracking.lock import lock_devices

    settings = read_settings(config_to_dict(cfg))
    output = Path(str(cfg.output)).expanduser().absolute()
    runs = plan_runs(settings, Path(str(cfg.data.path)), output, str(cfg.experiment_name))
    workers = _workers(cfg)
    left = open_runs(runs)
    chosen = left[: cfg.max_runs] if cfg.max_runs is not None else left
    log.info("%d runs: %d to do, %d now", len(runs), len(left), len(chosen))
    write_study(settings, output)
    write_runs(runs, list(settings.factors), output)
    facts = {"design": settings.design, "base": list(settings.base), "seeds": list(settings.seeds)}
    record = StudyRecord(output, str(cfg.experiment_name), facts)

    for one in runs:
        if one.adopt():
            record.add(one)

    def ended(one: Run) -> None:
        record.add(one)
        write_runs(runs, list(settings.factors), output)
        remaining = len(open_runs(runs))
        log.info("%s: %s; %d runs to do", one.status, one.title, remaining)

    try:
        with lock_devices(output, device_names("auto", "auto") if chosen and cfg.lock else ()):
            execute(chosen, workers, ended)
    except KeyboardInterrupt as stop:
        text = "stopped; go on with the same command: finished runs are kept, others are resumed"
        raise StoppedError(text) from stop
    finally:
        write_runs(runs, list(settings.factors), output)
    if not any(one.status == DONE for one in runs):
        log.info("no run is finished yet, so there is no report; the runs are in %s", RUNS_FILE)
        return
    report = make_report(output)
    _write_best(settings, runs, report, output)
    record.end(runs, [output / RUNS_FILE, output / PAGE])
    stdout_console.print(report_tables(report))
    log.info("wrote %s", output / PAGE)


def plan_runs(settings: StudySettings, data: Path, output: Path, experiment_name: str) -> list[Run]:
    """Return the runs of a study, those of the first seed first.

    Every config is composed before the first run starts.

    Raises
    ------
    ConfigError
        All overrides that are wrong.
    ManifestError
        The data set cannot be read, or has no test images of its own.
    """
    from cytoloop.studies.design import combinations
    from cytoloop.studies.runs import Run, run_key
    from cytoloop.studies.subsets import choose_rows, write_subset

    dataset = read_dataset(data)
    seen = {row.id for split in ("train", "valid") for row in dataset[split]}
    if not len(dataset["test"]) or seen & {row.id for row in dataset["test"]}:
        raise ManifestError(
            str(data),
            "has no test images of its own, which a study scores",
            "Curate it with a fraction test=, or test= and the names of groups.",
        )
    _compose([*settings.base, f"data.path={data}"])  # its faults once, not for each level
    problems: list[str] = []
    found: list[Run] = []
    digests: dict[Path, str] = {}
    for combination in combinations(settings):
        try:
            rows = choose_rows(dataset["train"].rows, combination.train_fraction, combination.where)
            folder = data.absolute()
            if len(rows) < len(dataset["train"]):
                folder = write_subset(dataset, rows, output / "data")
            if folder not in digests:
                digests[folder] = dataset_hash(read_dataset(folder))
            words = [*combination.overrides(settings), f"data.path={folder}"]
            config = {} if combination.predictions else _compose(words)
            for seed in settings.seeds[: 1 if combination.predictions else None]:
                own = {**config, "seed": seed} if config else {}
                key = run_key(own, digests[folder], combination.predictions)
                more = (f"seed={seed}", f"experiment_name={experiment_name}")
                place = output / "runs" / key
                found.append(Run(combination, seed, key, place, (*words, *more), folder, len(rows)))
        except CytoloopError as error:
            problems += [f"{combination.title}: {fault}" for fault in error.problems]
    if problems:
        raise ConfigError("cytoloop study", problems, "Repair base= or the levels of factors.")
    _refuse_equal(found)
    order = {seed: number for number, seed in enumerate(settings.seeds)}
    return sorted(found, key=lambda one: order[one.seed])


def _compose(words: Sequence[str]) -> dict[str, Any]:
    """Return what identifies a training: its composed config without folders and names."""
    from hydra import compose, initialize_config_module
    from omegaconf import OmegaConf

    with separate_hydra(), composition_errors("train", words):
        expanded = expand_words("train", list(words))
        with initialize_config_module("cytoloop.configs", "train", version_base="1.3"):
            cfg = compose("train", expanded)
    config: Any = OmegaConf.to_container(cfg, resolve=False)
    config["data"].pop("path")  # the hash of its rows and files stands for it
    return {key: value for key, value in config.items() if key not in _NOT_OF_THE_RUN}


def _refuse_equal(runs: Sequence[Run]) -> None:
    """Refuse levels that train the same: a comparison of them would say nothing."""
    by_key: dict[str, Run] = {}
    problems = []
    for one in runs:
        other = by_key.setdefault(one.key, one)
        if other is not one and one.seed == runs[0].seed:
            problems.append(f"{one.title} is the same training as {other.title}")
    if problems:
        raise ConfigError(
            "factors", problems, "Give levels with other overrides, or remove one of the two."
        )


def _workers(cfg: Any) -> Workers:
    """Return the slots of this machine."""
    import torch

    from cytoloop.bounds import Bounds, raise_faults
    from cytoloop.studies.execute import Workers
    from cytoloop.workers.cores import list_cores, usable_cores

    bounds = (
        Bounds("workers", 1, 256),
        Bounds("max_runs", 0, 1_000_000, also=(None,)),
        Bounds("max_hours", 0, 10_000, whole=False, also=(None,)),
    )
    faults = [(one.key, fault) for one in bounds if (fault := one.fault(cfg[one.key]))]
    raise_faults(faults, "Take a value that is allowed.")
    seconds = None if cfg.max_hours is None else float(cfg.max_hours) * 3600
    each = max(1, usable_cores() // int(cfg.workers))
    return Workers(int(cfg.workers), each, list_cores(), torch.cuda.device_count(), seconds)


def _write_best(
    settings: StudySettings, runs: Sequence[Run], report: StudyReport, output: Path
) -> None:
    """Write the best combination that was trained here as an experiment."""
    from cytoloop.studies.best import write_best

    by_levels = {tuple(one.combination.names.items()): one.combination for one in runs}
    for ranked in report.ranked:
        best = by_levels.get(tuple(ranked.levels.items()))
        if best is not None and not best.predictions:
            write_best(best.overrides(settings), best.title, report.conclusion, output)
            return
