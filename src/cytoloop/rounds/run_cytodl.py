"""One training of a CytoDL experiment with its MLflow run, data set, lineage and checkpoints."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cytoloop.model.hardware import describe_hardware
from cytoloop.redact import redact_url
from cytoloop.rounds.diagnosis_record import record_diagnosis
from cytoloop.rounds.training_record import DataRecord, open_training_run, record_run
from cytoloop.tracking.checkpoints import LocatedCheckpoint, locate_checkpoint
from cytoloop.tracking.logger import RunLogger
from cytoloop.tracking.output_folder import CONFIG_FILE, clear_output_folder
from cytoloop.tracking.run import closing_run
from cytoloop.training.checkpoint_io import find_last_checkpoint
from cytoloop.training.cytodl import fit_cytodl, monitored
from cytoloop.training.cytodl_checks import check_accelerator, check_packages, select_loggers
from cytoloop.training.cytodl_data import (
    CytoDLData,
    describe_arrays,
    read_cytodl_data,
    takes_arrays,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreparedExperiment:
    """A CytoDL experiment that has passed the checks.

    Attributes
    ----------
    cfg : DictConfig
        Resolved, with its ``_aux`` nodes.
    data : CytoDLData
    parent : LocatedCheckpoint or None
        The checkpoint that the training starts from.
    task : str
        Name of the experiment, for the tag ``cytoloop.task``.
    tracking_uri : str or None
    arrays : mapping of str to sequence, or None
        Images in memory by split, of an experiment that takes arrays.
    """

    cfg: DictConfig
    data: CytoDLData
    parent: LocatedCheckpoint | None
    task: str
    tracking_uri: str | None
    arrays: Mapping[str, Sequence[Any]] | None = None


@dataclass(frozen=True)
class CytoDLResult:
    """What a training leaves: id of its MLflow run, scores, and the best checkpoint."""

    run_id: str
    scores: dict[str, float]
    checkpoint: Path


def prepare_cytodl(
    cfg: DictConfig, task: str, arrays: Mapping[str, Sequence[Any]] | None = None
) -> PreparedExperiment:
    """Check an experiment before anything is spent; see `PreparedExperiment`.

    Raises
    ------
    ConfigError
        It needs hardware, a package or a network that is missing.
    ManifestError
        The data set lacks columns or files, or arrays are missing.
    ModelError
        There is no checkpoint to start from.
    """
    check_accelerator(cfg)
    uri = OmegaConf.select(cfg, "logger.mlflow.tracking_uri")
    OmegaConf.update(cfg, "logger", select_loggers(cfg), merge=False, force_add=True)
    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    if arrays is not None or takes_arrays(plain["data"]):
        data = describe_arrays(plain["data"], arrays)
    else:
        data = read_cytodl_data(plain["data"])
    check_packages(plain)
    start = plain.get("checkpoint") or {}
    parent = locate_checkpoint(start["ckpt_path"], uri) if start.get("ckpt_path") else None
    if parent is not None:
        start["ckpt_path"] = str(parent.path)
    return PreparedExperiment(OmegaConf.create(plain), data, parent, task, uri, arrays)


def run_cytodl(
    known: PreparedExperiment, output: Path, on_open: Callable[[str], None] = lambda run_id: None
) -> CytoDLResult:
    """Train a prepared experiment, recorded in an MLflow run.

    Parameters
    ----------
    known : PreparedExperiment
    output : Path
        The training's folder.
    on_open : callable
        Called with the run's id when the run is open.
    """
    cfg = known.cfg
    last = None
    if cfg.resume:
        most = cfg.trainer.get("max_epochs")
        last = find_last_checkpoint(Path(cfg.resume) / "checkpoints", most)
    tracked = open_training_run(cfg, output, str(cfg.run_name), known.tracking_uri)
    if cfg.overwrite or cfg.resume:
        clear_output_folder(output, resumed=bool(cfg.resume))
    on_open(tracked.run_id)
    log.info("MLflow run %s (%s)", tracked.run_id, redact_url(str(tracked.client.tracking_uri)))
    best = output / "checkpoints/best.ckpt"
    with closing_run(tracked, best.parent):
        record_run(
            tracked, cfg, _data_record(known.data), known.parent, known.task, describe_hardware()
        )
        OmegaConf.save(cfg, output / CONFIG_FILE)
        logger = RunLogger(known.tracking_uri, str(cfg.experiment_name), tracked.run_id)
        scores = fit_cytodl(cfg, output, logger, last, known.arrays)
        if "seg" in known.task:  # losses of GANs and of variational models may rise
            record_diagnosis(tracked, output, str(monitored(cfg)[0] or "val/loss"))
    return CytoDLResult(tracked.run_id, scores, best)


def _data_record(data: CytoDLData) -> DataRecord:
    location = str(data.path)
    return DataRecord(data.path.name, data.digest, location, location, data.counts, data.tables)
