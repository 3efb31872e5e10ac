"""Parts that the user names by ``_target_``: what the config needs besides, and trust.

The class of a network or a preparation that the user's config names is trusted in this process.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from cytoloop.bounds import AUTO
from cytoloop.data.replay import replay_rows
from cytoloop.manifest import Manifest
from cytoloop.model.networks import ADAPTERS
from cytoloop.model.trust import NAMESPACES, is_library, package_of, trusting
from cytoloop.training.prepare.classes import image_cache_of
from cytoloop.training.prepare.config import has_key, value_of, with_values, without

_LIBRARIES = {package_of(space) for space in NAMESPACES}
_DEFAULTS = {
    "model.optimizer": ("torch.optim.", ["weight_decay", "momentum", "nesterov"]),
    "model.lr_scheduler": ("cytoloop.", ["shape", "warmup", "start_factor", "end_factor"]),
}
"""Path of the default classes, and the arguments that the config groups give them."""
_SAVED = ("model.backbone", "preparation")
"""Nodes whose classes a checkpoint names."""


def own_packages(cfg: DictConfig) -> list[str]:
    """Return the user's packages of which a checkpoint of this training names a class."""
    targets = [target for key in _SAVED for target in _targets(value_of(cfg, key))]
    packages = dict.fromkeys(package_of(target) for target in targets if "." in target)
    return [p for p in packages if p not in _LIBRARIES and p not in sys.stdlib_module_names]


@contextmanager
def trusting_config(cfg: DictConfig) -> Iterator[None]:
    """Trust the packages of the network and the preparation that the user's config names."""
    with trusting(own_packages(cfg)):
        yield


def complete_own_parts(cfg: DictConfig) -> DictConfig:
    """Return a config whose network and losses have the arguments that their classes need.

    - A class that replaces the default network does not get the arguments that the plan would set.
    - A class that replaces the optimizer or the schedule does not get those of their arguments that
      it does not have.
    - A loss of MONAI that turns logits into probabilities on demand gets ``sigmoid=true``, unless
      its config states ``sigmoid``, ``softmax`` or ``other_act``: its input are logits.
    """
    target = str(value_of(cfg, "model.backbone._target_"))
    backbone = value_of(cfg, "model.backbone")
    if isinstance(backbone, dict) and target not in ADAPTERS:
        planned = [name for name, value in backbone.items() if value == AUTO]
        cfg = without(cfg, "model.backbone", planned)
        if not is_library(target) and has_key(cfg, "model.inferer.strides"):
            cfg = with_values(cfg, {"model.inferer.strides": None})
    for key, (default, names) in _DEFAULTS.items():
        cfg = _without_defaults(cfg, key, default, names)
    heads = OmegaConf.select(cfg, "model.task_heads")
    if not OmegaConf.is_dict(heads):
        return cfg
    missing = [
        key
        for name, head in heads.items()
        for key in _losses_without_activation(
            f"model.task_heads.{name}.loss", OmegaConf.select(head, "loss")
        )
    ]
    return with_values(cfg, {f"{key}.sigmoid": True for key in missing})


def _without_defaults(cfg: DictConfig, key: str, default: str, names: list[str]) -> DictConfig:
    """Return a config without the default arguments that another class does not have."""
    target = value_of(cfg, f"{key}._target_")
    if target is None or str(target).startswith(default):
        return cfg
    arguments = _arguments_of(str(target))
    if arguments is None or any(one.kind is one.VAR_KEYWORD for one in arguments.values()):
        return cfg
    unknown = [name for name in names if has_key(cfg, f"{key}.{name}") and name not in arguments]
    return without(cfg, key, unknown) if unknown else cfg


def _arguments_of(target: str) -> Mapping[str, inspect.Parameter] | None:
    """Return the arguments of a class; None if there is no such class: the dry run reports it."""
    try:
        return inspect.signature(get_object(target)).parameters
    except Exception:  # the user's module may raise anything when it is imported
        return None


def has_excluded_voxels(cfg: DictConfig, dataset: Mapping[str, Manifest]) -> bool:
    """Return whether any voxel of the images that train or validate is excluded."""
    rows = [*dataset.get("train", ()), *dataset.get("valid", ())]
    if cfg.data.get("replay_path"):
        rows += replay_rows(cfg.data.replay_path, dataset, cfg.data.get("planes"))
    masked = [row for row in rows if row["exclude_mask"]]
    return any(one.valid_points is not None for one in image_cache_of(cfg).entries(masked))


def _losses_without_activation(key: str, loss: Any) -> Iterator[str]:
    """Yield the keys of losses that would take logits for probabilities."""
    if not OmegaConf.is_dict(loss):
        return
    for name, part in (loss.get("losses") or {}).items():
        yield from _losses_without_activation(f"{key}.losses.{name}", part)
    target = str(loss.get("_target_"))
    if target.startswith("cytoloop."):
        return
    arguments = _arguments_of(target) or {}
    stated = {"sigmoid", "softmax", "other_act"} & {str(name) for name in loss}
    if {"sigmoid", "softmax"} <= set(arguments) and not stated:
        yield key


def _targets(node: Any) -> Iterator[str]:
    """Yield every ``_target_`` of a nested config."""
    if isinstance(node, dict):
        if isinstance(node.get("_target_"), str):
            yield node["_target_"]
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from _targets(item)
