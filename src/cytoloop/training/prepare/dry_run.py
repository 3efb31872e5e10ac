"""The dry run: every part of a training is built once, and one tiny step is made.

It runs before the MLflow run opens, so that a mistake leaves nothing behind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from cytoloop.errors import ConfigError, CytoloopError
from cytoloop.model.module import SegmentationModule
from cytoloop.terminal import quiet_libraries
from cytoloop.training.callbacks.object_scores import logged_scores
from cytoloop.training.fit import runnable
from cytoloop.training.prepare.config import value_of

_SCORES = ("val/loss", "val/dice", "val/iou", "train/loss")
_NOT_FOUND = "Error locating target"  # how Hydra's message begins
_REPAIR = "See `cytoloop train --cfg job` for the whole config."


class _Faults:
    """The faults of the parts, collected: key of the config and error."""

    def __init__(self) -> None:
        self.found: list[tuple[str, Exception]] = []

    def attempt(self, key: str, action: Callable[[], Any]) -> Any:
        """Return the result of an action; None, and a fault, if it fails."""
        try:
            return action()
        except Exception as error:  # whatever a class says about its arguments
            self.found.append((key, error))
            return None


def build_every_part(cfg: DictConfig) -> None:
    """Refuse a config of which a part cannot be built or run.

    Data module, model, optimizer, schedule, callbacks and trainer are built as in a training. A
    callback with a method ``check(model)`` is asked as well. Then random patches go through the
    network, the losses, the backward pass and the windows of validation. No image is read.

    Parameters
    ----------
    cfg : DictConfig
        Complete.

    Raises
    ------
    CytoloopError
        The only fault, if it is one of ours.
    ConfigError
        All faults at once.
    """
    quiet_libraries()
    cfg = runnable(cfg)
    faults = _Faults()

    def build(key: str, **more: Any) -> Any:
        node = OmegaConf.select(cfg, key)
        if not OmegaConf.is_dict(node) or "_target_" not in node:
            return None
        return faults.attempt(key, lambda: instantiate(node, **more))

    build("data")
    model = build("model", _recursive_=False)
    if isinstance(model, SegmentationModule):
        faults.attempt("model.optimizer", model.configure_optimizers)
        if cfg.model.get("compile"):
            faults.attempt("model.compile", _check_compiler)
    for name in cfg.get("callbacks") or {}:
        key = f"callbacks.{name}"
        callback = build(key)
        if model is not None and hasattr(callback, "check"):
            faults.attempt(key, partial(callback.check, model))
        if isinstance(model, SegmentationModule):
            faults.attempt(key, partial(_check_monitor, key, cfg.callbacks[name], model))
    build("trainer", callbacks=[], logger=False)
    if not faults.found and isinstance(model, SegmentationModule) and not cfg.model.get("compile"):
        faults.attempt("model", lambda: _one_step(model, cfg))
    _raise(faults.found)


def _one_step(model: SegmentationModule, cfg: DictConfig) -> None:
    """Run random patches through network, losses, backward pass and the windows of validation."""
    patch = list(value_of(cfg, "data.patch_size"))
    count = min(int(cfg.data.batch_size), 2)  # batch norm of a single voxel needs two patches
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((count, int(cfg.in_channels), *patch), generator=generator)
    target = torch.rand((count, len(model.task_heads), *patch), generator=generator).round()
    batch = {"image": image, "target": target, "weight": torch.ones(count, 1, *patch)}
    losses = model.losses(model(image), batch)
    losses["loss"].backward()
    model.eval()
    with torch.inference_mode():
        model.inferer(image[:1], model)


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


def _check_monitor(key: str, node: Any, model: SegmentationModule) -> None:
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
    known = [*_SCORES, *(logged_scores() if "distance" in model.task_heads else ())]
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


def _raise(faults: list[tuple[str, Exception]]) -> None:
    """Raise the faults: a single one of ours as it is, others as one ConfigError."""
    if not faults:
        return
    causes = [(key, _cause(error)) for key, error in faults]
    if len(causes) == 1 and isinstance(causes[0][1], CytoloopError):
        raise causes[0][1]
    lines = [(where, fault) for key, cause in causes for where, fault in _described(key, cause)]
    last = faults[-1][1]
    if len(lines) == 1:
        raise ConfigError(*lines[0], _REPAIR) from last
    raise ConfigError("config", [f"{where}: {fault}" for where, fault in lines], _REPAIR) from last


def _cause(error: BaseException) -> BaseException:
    """Return the error of a class, or of a name that is not found, inside Hydra's error."""
    while error.__cause__ is not None and not isinstance(error, CytoloopError):
        if str(error).startswith(_NOT_FOUND):
            break
        error = error.__cause__
    return error


def _described(key: str, error: BaseException) -> Iterator[tuple[str, str]]:
    """Yield where each fault of an error is, and what it is."""
    if isinstance(error, CytoloopError):
        yield from ((error.where, problem) for problem in error.problems)
        return
    text = " ".join(str(error).split()) or type(error).__name__
    if text.startswith(_NOT_FOUND):
        inner = re.search(r"full_key: (\S+)$", text)
        name = text.removeprefix(_NOT_FOUND).partition(", set env var")[0]
        yield (
            f"{_full_key(key, inner)}._target_",
            f"{name.strip()} is not found ({error.__cause__})",
        )
    else:
        yield key, text[:500]


def _full_key(key: str, inner: re.Match[str] | None) -> str:
    """Return the key of a node inside a part, from Hydra's ``full_key``."""
    return f"{key}.{inner[1]}" if inner and inner[1] != key else key
