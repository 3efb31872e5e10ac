"""A training's parts, built once before its run is opened: a mistake then leaves nothing behind."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from cytoloop.errors import ConfigError, CytoloopError
from cytoloop.model.module import SegmentationModule
from cytoloop.terminal import quiet_libraries
from cytoloop.training.callbacks.object_scores import logged_scores

_SCORES = ("val/loss", "val/dice", "val/iou")
_UNKNOWN = "Error locating target"  # how Hydra begins


def check_parts(cfg: DictConfig) -> None:
    """Refuse a config of which a part cannot be built.

    Data module, model, optimizer, schedule, callbacks and trainer are made as CytoDL's `train`
    makes them, and thrown away; no image is read. A callback that has a method ``check(model)`` is
    asked too.

    Parameters
    ----------
    cfg : DictConfig
        Complete; it is not changed.

    Raises
    ------
    CytoloopError
        The only fault, where it is one of ours.
    ConfigError
        All faults at once.
    """
    quiet_libraries()
    cfg = copy.deepcopy(cfg)
    OmegaConf.resolve(cfg)
    OmegaConf.set_struct(cfg, False)
    cfg.model.pop("_aux", None)
    errors: list[tuple[str, Exception]] = []

    def build(key: str, **more: Any) -> Any:
        node = OmegaConf.select(cfg, key)
        if not OmegaConf.is_dict(node) or "_target_" not in node:
            return None
        return attempt(key, lambda: instantiate(node, **more))

    def attempt(key: str, make: Any) -> Any:
        try:
            return make()
        except Exception as error:  # whatever a class says of its arguments is the user's to mend
            errors.append((key, error))
            return None

    build("data")
    model = build("model", _recursive_=False)
    if isinstance(model, SegmentationModule):
        attempt("model.optimizer", model.configure_optimizers)
        if cfg.model.get("compile"):
            attempt("model.compile", _check_compiler)
    for name, node in (cfg.get("callbacks") or {}).items():
        callback = build(f"callbacks.{name}")
        if model is not None and hasattr(callback, "check"):
            attempt(f"callbacks.{name}", lambda check=callback.check: check(model))
        if isinstance(model, SegmentationModule):
            key = f"callbacks.{name}"
            attempt(key, lambda key=key, node=node: _check_monitor(key, node, model))
    build("trainer", callbacks=[], logger=False)
    _raise(errors)


def _check_compiler() -> None:
    """Refuse to compile where nothing can be: the smallest thing is tried.

    Raises
    ------
    ConfigError
        It fails.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.ones(64, device=device))
    except Exception as error:  # of many kinds, by compiler and system
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise ConfigError(
            "model.compile",
            f"nothing can be compiled on this machine: {reason}",
            "Install a C++ compiler (and Triton for a GPU), or leave it out.",
        ) from error


def _check_monitor(key: str, node: Any, model: SegmentationModule) -> None:
    """Refuse a score that nothing logs, and the largest loss taken for the best.

    Raises
    ------
    ConfigError
        Of a callback that watches a score; those that show one follow it.
    """
    target = str(node.get("_target_")) if OmegaConf.is_dict(node) else ""
    watches = target.startswith(("lightning.", "cytoloop.training.callbacks.tolerant_checkpoint."))
    monitor = node.get("monitor") if watches else None
    if monitor is None:
        return
    objects = logged_scores() if "distance" in model.task_heads else ()
    known = [*_SCORES, *objects, "train/loss"]
    # of several heads or classes each has a score of its own, as val/loss_NAME
    names = tuple(f"{one}_" for one in known)
    if monitor not in known and not str(monitor).startswith(names):
        raise ConfigError(
            f"{key}.monitor", f"{monitor} is no score of this model", f"One of {', '.join(known)}."
        )
    if "loss" in monitor and node.get("mode") == "max":
        found = f"is max, of {monitor} the smallest is the best"
        raise ConfigError(f"{key}.mode", found, f"Add {key}.mode=min.")


def _raise(errors: list[tuple[str, Exception]]) -> None:
    """Raise what was found, if anything: the only one as it is, several as one."""
    causes = [(key, _cause(error)) for key, error in errors]
    if not causes:
        return
    if len(causes) == 1 and isinstance(causes[0][1], CytoloopError):
        raise causes[0][1]
    lines = [(where, fault) for key, cause in causes for where, fault in _told(key, cause)]
    repair, last = "See `cytoloop train --cfg job` for the whole config.", errors[-1][1]
    if len(lines) == 1:
        raise ConfigError(*lines[0], repair) from last
    raise ConfigError("config", [f"{where}: {fault}" for where, fault in lines], repair) from last


def _cause(error: BaseException) -> BaseException:
    """Return what a class said, or which name is none, from inside what Hydra makes of it."""
    while error.__cause__ is not None and not isinstance(error, CytoloopError):
        if str(error).startswith(_UNKNOWN):
            break
        error = error.__cause__
    return error


def _told(key: str, error: BaseException) -> Iterator[tuple[str, str]]:
    """Yield where each fault is, and what it is."""
    if isinstance(error, CytoloopError):
        yield from ((error.where, problem) for problem in error.problems)
        return
    text = " ".join(str(error).split()) or type(error).__name__
    if text.startswith(_UNKNOWN):
        inner = re.search(r"full_key: (\S+)$", text)
        where = f"{key}.{inner[1]}" if inner and inner[1] != key else key
        name = text.removeprefix(_UNKNOWN).partition(", set env var")[0]
        yield f"{where}._target_", f"{name.strip()} is not found ({error.__cause__})"
    else:
        yield key, text[:500]
