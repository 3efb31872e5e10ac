"""Values of a config: read as plain values, and set in a copy."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict


def value_of(cfg: DictConfig, key: str, default: Any = None) -> Any:
    """Return the value of a dotted key as plain Python, interpolations resolved."""
    value = OmegaConf.select(cfg, key, default=default)
    return OmegaConf.to_object(value) if OmegaConf.is_config(value) else value


def has_key(cfg: DictConfig, key: str) -> bool:
    """Return whether a dotted key is in a config, be its value null."""
    group, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, group) if group else cfg
    return node is not None and name in node


def with_values(cfg: DictConfig, values: Mapping[str, Any]) -> DictConfig:
    """Return a copy of a config in which dotted keys have these values.

    A key that the config does not have is added.
    """
    changed = copy.deepcopy(cfg)
    with open_dict(changed):
        for key, value in values.items():
            OmegaConf.update(changed, key, value, merge=False, force_add=True)
    return changed


def without(cfg: DictConfig, group: str, names: list[str]) -> DictConfig:
    """Return a copy of a config without some keys of a group."""
    changed = copy.deepcopy(cfg)
    node: Any = OmegaConf.select(changed, group)
    with open_dict(changed):
        for name in names:
            del node[name]
    return changed
