"""The dry run: every part of a training is built once, and one tiny step is made.

It runs before the MLflow run opens, so that a mistake leaves nothing behind.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from cytoloop.errors import ConfigError
from cytoloop.model.module import SegmentationModule
from cytoloop.terminal import quiet_libraries
from cytoloop.training.callbacks.object_scores import logged_scores
from cytoloop.training.fit import runnable
from cytoloop.training.prepare.config import value_of
from cytoloop.training.prepare.dry_run_faults import Faults, raise_faults
from cytoloop.training.prepare.dry_run_step import (
    check_neighbours,
    check_preparation,
    gathered_losses,
    try_step,
)

_SCORES = ("val/loss", "val/dice", "val/iou", "train/loss")


def build_every_part(
    cfg: DictConfig,
    largest: Sequence[int] = (),
    has_excluded: Callable[[], bool] = lambda: False,
) -> None:
    """Refuse a config of which a part cannot be built or run.

    Data module, model, optimizer, schedule, callbacks, loggers and trainer are built as in a
    training. A callback with a method ``check(model)`` is asked as well; scores in its attribute
    ``logs`` can be monitored. Then random patches go through the network, the losses, the backward
    pass, a window of validation and the post-processing. No image is read.

    Parameters
    ----------
    cfg : DictConfig
        Complete.
    largest : sequence of int
        Largest size of all images along each axis, [Z,] Y, X; empty where it is not known.
    has_excluded : callable
        Returns whether voxels of the data set are excluded. Only called for a loss that needs
        neighbours.

    Raises
    ------
    CytoloopError
        The only fault, if it is one of ours.
    ConfigError
        All faults at once.
    """
    quiet_libraries()
    cfg = runnable(cfg)
    faults = Faults()

    def build(key: str, **more: Any) -> Any:
        node = OmegaConf.select(cfg, key)
        if not OmegaConf.is_dict(node) or "_target_" not in node:
            return None
        return faults.attempt(key, lambda: instantiate(node, **more))

    data = build("data")
    if getattr(data, "preparation", None):
        faults.attempt("preparation.steps", partial(check_preparation, data.preparation, cfg))
    model = build("model", _recursive_=False)
    if isinstance(model, SegmentationModule):
        made = faults.attempt("model.optimizer", model.configure_optimizers)
        if isinstance(made, dict):
            scheduler = made["lr_scheduler"]["scheduler"]
            faults.attempt("model.lr_scheduler", partial(_check_schedule, scheduler))
        if cfg.model.get("compile"):
            faults.attempt("model.compile", _check_compiler)
    callbacks = {name: build(f"callbacks.{name}") for name in cfg.get("callbacks") or {}}
    logged = [str(score) for one in callbacks.values() for score in getattr(one, "logs", ())]
    for name, callback in callbacks.items():
        key = f"callbacks.{name}"
        if model is not None and hasattr(callback, "check"):
            faults.attempt(key, partial(callback.check, model))
        if isinstance(model, SegmentationModule):
            faults.attempt(key, partial(_check_monitor, key, cfg.callbacks[name], model, logged))
    for name in cfg.get("logger") or {}:
        if not str(value_of(cfg, f"logger.{name}._target_")).startswith(
            ("cytoloop.", "lightning.")
        ):
            build(f"logger.{name}")  # ours open the run
    build("trainer", callbacks=[], logger=False)
    if not faults.found and isinstance(model, SegmentationModule) and not cfg.model.get("compile"):
        try_step(faults, model, cfg, largest)
        for key, loss in gathered_losses(model):
            faults.attempt(key, partial(check_neighbours, key, loss, cfg, has_excluded))
    raise_faults(faults.found)


def _check_schedule(scheduler: Any) -> None:
    """Step a schedule once, as after an optimizer step."""
    if hasattr(scheduler, "spent"):
        scheduler.spent = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of the missing optimizer step
        scheduler.step()


def _check_compiler() -> None:
    """Compile the smallest function, to see whether the machine can compile at all.

    Raises
    ------
    ConfigError
        It cannot.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.ones(64, device=device))
    except Exception as error:  # of many kinds, by compiler and system
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise ConfigError(
            "model.compile",
            f"this machine cannot compile: {reason}",
            "Install a C++ compiler (and Triton for a GPU), or leave the key out.",
        ) from error


def _check_monitor(
    key: str, node: Any, model: SegmentationModule, logged: Sequence[str] = ()
) -> None:
    """Refuse a callback that watches a score nothing logs, or looks for the largest loss.

    Raises
    ------
    ConfigError
        The score is unknown, or its mode is wrong.
    """
    values: Mapping[str, Any] = node if OmegaConf.is_dict(node) else {}
    target = str(values.get("_target_"))
    watches = target.startswith(("lightning.", "cytoloop.training.callbacks.tolerant_checkpoint."))
    monitor = values.get("monitor") if watches else None
    if monitor is None:
        return
    known = [*_SCORES, *logged, *(logged_scores() if "distance" in model.task_heads else ())]
    # a head or a class has scores of its own, as val/loss_NAME
    if monitor not in known and not str(monitor).startswith(tuple(f"{one}_" for one in known)):
        raise ConfigError(
            f"{key}.monitor",
            f"{monitor} is not a score of this model",
            f"Expected one of {', '.join(known)}.",
        )
    if "loss" in monitor and values.get("mode") == "max":
        found = f"is max, but the smallest {monitor} is the best"
        raise ConfigError(f"{key}.mode", found, f"Add {key}.mode=min.")
