"""Lightning's fit, from a complete config."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
from hydra.utils import instantiate
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf

from cytoloop.errors import ConfigError
from cytoloop.model.hardware import keep_freed_memory
from cytoloop.model.shallow_convolutions import replace_convolutions
from cytoloop.terminal import quiet_libraries
from cytoloop.training.distributed import with_other_processes
from cytoloop.training.stopping import clean_stop

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """What a config is built into.

    Attributes
    ----------
    data : LightningDataModule
    model : LightningModule
    trainer : Trainer
        With its callbacks and loggers.
    """

    data: LightningDataModule
    model: LightningModule
    trainer: Trainer


def fit(cfg: DictConfig) -> dict[str, float]:
    """Train as the config says.

    Parameters
    ----------
    cfg : DictConfig
        Complete (`cytoloop.training.prepare`).

    Returns
    -------
    dict of str to float
        The last logged metrics, and ``best``: the score of the best checkpoint.

    Raises
    ------
    ConfigError
        Lightning refuses a value of the config.
    ModelError
        One of several processes failed.
    """
    output = Path(cfg.paths.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml")
    trainer: Any = run_trainer(cfg, first=True)
    for callback in trainer.callbacks:
        if isinstance(callback, EarlyStopping) and callback.stopped_epoch:
            log.info(
                "stopped: %s did not improve in %d validations", callback.monitor, callback.patience
            )
    scores = {name: float(value) for name, value in trainer.callback_metrics.items()}
    saved = [one for one in trainer.callbacks if isinstance(one, ModelCheckpoint)]
    best: Any = saved[0].best_model_score if saved else None
    scores["best"] = float(best) if best is not None else float("nan")
    return scores


def run_trainer(cfg: DictConfig, first: bool = False) -> Trainer:
    """Build the parts of a config, fit the model, and return the trainer.

    Parameters
    ----------
    cfg : DictConfig
    first : bool
        Whether this is the first process, which gives the config to the others.

    Raises
    ------
    ConfigError
        Lightning refuses a value of the config.
    """
    quiet_libraries()
    keep_freed_memory()
    with clean_stop():
        try:
            parts = build_parts(cfg)
            resumed = OmegaConf.select(cfg, "checkpoint.ckpt_path")
            with with_other_processes(parts.trainer, cfg) if first else nullcontext():
                parts.trainer.fit(parts.model, datamodule=parts.data, ckpt_path=resumed)
        except MisconfigurationException as error:  # a mistake of the user, in Lightning's words
            raise ConfigError("trainer", " ".join(str(error).split()), "") from error
    return parts.trainer


def build_parts(cfg: DictConfig) -> Parts:
    """Seed the random generators and build data module, model, callbacks, loggers and trainer."""
    cfg = runnable(cfg)
    if cfg.get("seed") is not None:
        lightning.seed_everything(cfg.seed, workers=True, verbose=False)
    data = instantiate(cfg.data)
    model = instantiate(cfg.model, _recursive_=False)
    replace_convolutions(model)
    callbacks, loggers = (
        [instantiate(node) for node in (cfg.get(group) or {}).values() if node is not None]
        for group in ("callbacks", "logger")
    )
    trainer = instantiate(cfg.trainer, callbacks=callbacks, logger=loggers)
    return Parts(data, model, trainer)


def runnable(cfg: DictConfig) -> DictConfig:
    """Return a copy of a config without interpolations and helper nodes (``_aux``)."""
    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    _remove_helpers(plain)
    return OmegaConf.create(plain)


def _remove_helpers(node: Any) -> None:
    """Remove every ``_aux`` of a nested config, as CytoDL does before it builds anything."""
    if isinstance(node, dict):
        node.pop("_aux", None)
        for value in node.values():
            _remove_helpers(value)
