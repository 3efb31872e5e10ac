"""`cytoloop train experiment=im2im/...`: a CytoDL experiment in, a model and its run out."""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cytoloop.rounds.run_cytodl import CytoDLResult

log = logging.getLogger(__name__)


def run(cfg: Any) -> float | None:
    """Train, log the best score, and return it (for `--multirun` searches)."""
    from omegaconf import OmegaConf

    found = train_experiment(cfg)
    monitor = OmegaConf.select(cfg, "callbacks.model_checkpoint.monitor")
    best = found.scores.get(str(monitor))
    if best is not None:
        log.info("kept %s: %s %.4f", found.checkpoint, monitor, best)
    log.info("MLflow run: runs:/%s", found.run_id)
    return best


def train_experiment(cfg: Any, arrays: Mapping[str, Sequence[Any]] | None = None) -> CytoDLResult:
    """Check a CytoDL experiment and train.

    Parameters
    ----------
    cfg : DictConfig
    arrays : mapping of str to sequence, optional
        Images by split, see `cytoloop.training.cytodl_data.describe_arrays`.

    Raises
    ------
    CytoloopError
        Data, config or output folder are wrong.
    StoppedError
        The training was stopped; its checkpoint is saved.
    """
    from hydra.core.hydra_config import HydraConfig

    from cytoloop.cli.app import StoppedError
    from cytoloop.model.hardware import device_names
    from cytoloop.rounds.run_cytodl import prepare_cytodl, run_cytodl
    from cytoloop.tracking.lock import lock_training
    from cytoloop.tracking.output_folder import (
        LAST_CHECKPOINT,
        check_not_trained,
        write_final_scores,
    )
    from cytoloop.training.stopping import clean_stop

    output = Path(os.path.relpath(cfg.paths.output_dir))  # in a sweep, the job's folder
    if not (cfg.resume or cfg.overwrite):
        check_not_trained(output)
    task = str(HydraConfig.get().runtime.choices["experiment"])
    known = prepare_cytodl(cfg, task, arrays)
    devices = device_names(str(cfg.trainer.accelerator), cfg.trainer.devices)
    try:
        with clean_stop(), lock_training(output, devices, lock=bool(cfg.lock)) as name_run:
            found = run_cytodl(known, output, name_run)
            write_final_scores(output, found.scores)
            return found
    except (KeyboardInterrupt, SystemExit) as stop:
        resumable = (output / LAST_CHECKPOINT).is_file()
        hint = f"resume with: cytoloop train resume={shlex.quote(str(output))}"
        text = hint if resumable else "no epoch was finished, so there is nothing to resume"
        raise StoppedError(f"stopped; {text}") from stop
