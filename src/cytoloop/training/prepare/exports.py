"""Refuse exports that are known to be impossible, before a training starts."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from cytoloop.errors import ConfigError
from cytoloop.model.checkpoint import Checkpoint
from cytoloop.model.exporters import EXPORTERS
from cytoloop.model.exporters.round_trip import check_importable
from cytoloop.training.prepare.config import value_of


def export_formats(cfg: DictConfig) -> list[str]:
    """Return the formats in which the best model is written at the end.

    Raises
    ------
    ConfigError
        Unknown formats.
    """
    value = cfg.get("export") or []
    formats = [value] if isinstance(value, str) else [str(one) for one in value]
    if unknown := [f"{one!r} is no format" for one in formats if one not in EXPORTERS]:
        raise ConfigError("export", unknown, f"Expected {', '.join(EXPORTERS)}.")
    return list(dict.fromkeys(formats))


def check_exports(cfg: DictConfig) -> None:
    """Refuse a format that cannot hold the network of a complete config.

    Raises
    ------
    ConfigError
        Unknown formats.
    ModelError
        A format that holds only some networks, and not this one.
    """
    limited = [one for one in export_formats(cfg) if one in ("folder", "cytodl")]
    if not limited:
        return
    backbone, image = (value_of(cfg, f"model.{name}") for name in ("backbone", "image"))
    for form in limited:
        check_importable(Checkpoint(Path("the network"), "", {}, backbone, image, 0, 0), form)
