"""What of a CytoDL experiment does not run on this machine: refused or left out by name."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from cytoloop.errors import ConfigError

log = logging.getLogger(__name__)

_PACKAGES = {
    "WandbLogger": ("wandb",),
    "CometLogger": ("comet_ml",),
    "NeptuneLogger": ("neptune",),
    "TensorBoardLogger": ("tensorboard", "tensorboardX"),
}
"""Logger class to packages, one of which it needs."""

_BUILT = ("data", "model", "callbacks", "logger", "trainer")
"""Groups that are built."""

_ONLINE = ("WandbLogger", "CometLogger", "NeptuneLogger")
_MLFLOW = ("MLFlowLogger", "RunLogger")


def check_accelerator(cfg: DictConfig) -> None:
    """Refuse a trainer for a GPU on a machine without one.

    Raises
    ------
    ConfigError
    """
    accelerator = str(cfg.trainer.get("accelerator", "auto"))
    has_mps = torch.backends.mps.is_available()
    available = {"gpu": torch.cuda.is_available() or has_mps, "cuda": torch.cuda.is_available()}
    if not available.get(accelerator, has_mps if accelerator == "mps" else True):
        raise ConfigError(
            f"trainer.accelerator={accelerator}",
            "torch finds no GPU on this machine",
            "Add trainer.accelerator=cpu.",
        )


def check_packages(cfg: Any) -> None:
    """Refuse an experiment whose classes cannot be imported.

    Parameters
    ----------
    cfg : mapping
        Resolved config of plain values.

    Raises
    ------
    ConfigError
        All packages that are missing.
    """
    problems = []
    for target in sorted(set(_targets({key: cfg.get(key) for key in _BUILT}))):
        try:
            get_object(target)
        except ImportError as error:
            problems.append(f"{target} {_missing_package(error)}")
    if problems:
        raise ConfigError(
            "experiment",
            problems,
            "Install the package in a build that fits your torch, or choose another class.",
        )


def _targets(node: Any) -> Iterator[str]:
    """Yield the classes that a nested config names."""
    if isinstance(node, Mapping):
        if isinstance(node.get("_target_"), str):
            yield node["_target_"]
        for value in node.values():
            yield from _targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from _targets(value)


def _missing_package(error: ImportError) -> str:
    """Return what is missing, from an import error and its causes."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ModuleNotFoundError) and cause.name:
            return f"needs the package {cause.name}, which is not installed"
        cause = cause.__cause__ or cause.__context__
    return f"cannot be imported: {str(error).splitlines()[0]}"


def select_loggers(cfg: DictConfig) -> dict[str, Any]:
    """Return the loggers of an experiment that work here, unresolved, by name.

    CytoDL's MLflow logger is left out, because the run of the training has all it logs. Of several
    loggers those that need a missing package or a network are left out with a warning.

    Raises
    ------
    ConfigError
        No logger that was chosen works here.
    """
    nodes: Any = OmegaConf.to_container(cfg.get("logger") or OmegaConf.create({}), resolve=False)
    kept, reasons = {}, {}
    for name, node in nodes.items():
        kind = str((node or {}).get("_target_", "")).rpartition(".")[2]
        if not kind or kind in _MLFLOW:
            continue
        if reason := _reason_to_leave_out(kind, node):
            reasons[name] = reason
        else:
            kept[name] = node
    if reasons and not kept:
        raise ConfigError(
            f"logger={next(iter(reasons))}",
            list(reasons.values()),
            "Choose logger=csv; the MLflow run holds all metrics in any case.",
        )
    for name, reason in reasons.items():
        log.warning("logger.%s is left out: %s", name, reason)
    return kept


def _reason_to_leave_out(kind: str, node: dict[str, Any]) -> str:
    """Return why a logger does not work here, "" if it does."""
    packages = _PACKAGES.get(kind, ())
    if packages and not any(importlib.util.find_spec(one) for one in packages):
        return f"{kind} needs the package {packages[0]}, which is not installed"
    if kind in _ONLINE and not node.get("offline"):
        return f"{kind} sends metrics to a server; set logger.{packages[0]}.offline=true"
    return ""


def runs_test_stage(cfg: DictConfig) -> bool:
    """Return whether CytoDL's test stage runs after the training.

    It fails on a CPU: its half-precision sliding window has no CPU kernel.
    """
    if not cfg.get("test"):
        return False
    if torch.cuda.is_available() and str(cfg.trainer.get("accelerator")) != "cpu":
        return True
    log.info(
        "CytoDL's test stage (test=true) is left out: it needs a GPU. "
        "Score the model with `cytoloop predict` and `cytoloop evaluate`."
    )
    return False
