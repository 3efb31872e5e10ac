"""`cytoloop train`: a manifest in, a model and its MLflow run out."""

from __future__ import annotations

import logging
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cytoloop.errors import ConfigError

if TYPE_CHECKING:
    from cytoloop.rounds.run_training import TrainingResult

log = logging.getLogger(__name__)


def run(cfg: Any) -> float:
    """Train, log the next command, and return the best score (for `--multirun` searches)."""
    from cytoloop.training.prepare.own_parts import own_packages

    found = train_model(cfg)
    best = found.scores[cfg.callbacks.best.monitor]
    log.info("kept %s: %s %.4f", found.checkpoint, cfg.callbacks.best.monitor, best)
    packages = ",".join(own_packages(cfg))
    trust = f" {shlex.quote(f'trust=[{packages}]')}" if packages else ""
    log.info(
        "next: cytoloop predict checkpoint=runs:/%s input=... output=preds/%s", found.run_id, trust
    )
    return best


def train_model(cfg: Any) -> TrainingResult:
    """Check the data and train.

    Raises
    ------
    CytoloopError
        Data, config or output folder are wrong.
    StoppedError
        The training was stopped; its checkpoint is saved.
    """
    from cytoloop.cli.app import StoppedError
    from cytoloop.model.hardware import device_names
    from cytoloop.rounds.run_training import run_training
    from cytoloop.tracking.lock import lock_training
    from cytoloop.tracking.output_folder import (
        LAST_CHECKPOINT,
        check_not_trained,
        write_final_scores,
    )
    from cytoloop.tracking.registry import check_model_name
    from cytoloop.training.launch import check_launch
    from cytoloop.training.prepare.steps import CHECKS, COMPLETION, Prepared, prepare
    from cytoloop.training.stopping import clean_stop

    if cfg.background:
        raise ConfigError(
            "background=true", "works on the command line only", "Run `cytoloop train` in a shell."
        )
    check_launch(cfg.trainer)
    output = Path(os.path.relpath(cfg.paths.output_dir))  # in a sweep, the job's folder
    if not (cfg.resume or cfg.overwrite):
        check_not_trained(output)
    if cfg.register:
        check_model_name(cfg.register)
    known = prepare(Prepared(cfg, output), CHECKS)
    devices = device_names(str(cfg.trainer.accelerator), cfg.trainer.devices)
    try:
        with clean_stop(), lock_training(output, devices, lock=bool(cfg.lock)) as name_run:
            found = run_training(prepare(known, COMPLETION), output, name_run)
            write_final_scores(output, found.scores)
            return found
    except (KeyboardInterrupt, SystemExit) as stop:
        resumable = (output / LAST_CHECKPOINT).is_file()
        hint = f"resume with: cytoloop train resume={shlex.quote(str(output))}"
        text = hint if resumable else "no epoch was finished, so there is nothing to resume"
        raise StoppedError(f"stopped; {text}") from stop
