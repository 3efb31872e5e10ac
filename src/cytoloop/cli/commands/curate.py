"""`cytoloop curate`: images and decisions in, a data set out."""

from __future__ import annotations

import logging
import shlex
from dataclasses import fields
from typing import Any

from cytoloop.cli.app import config_to_dict
from cytoloop.curation import CurationResult, CurationSettings, curate

log = logging.getLogger(__name__)


def run(cfg: Any) -> None:
    """Write the data set, and log the command that trains on it."""
    curate_images(cfg)
    path = shlex.quote(f"data.path={cfg.output}")
    log.info("next: cytoloop train experiment=auto %s", path)


def curate_images(cfg: Any) -> CurationResult:
    """Pair, check and split images, and write the data set."""
    values = config_to_dict(cfg)
    values["paths"] = values.pop("paths_in_manifest")  # `paths` is a config group
    values |= values.pop("split")
    settings = CurationSettings(
        **{field.name: values[field.name] for field in fields(CurationSettings)}
    )
    return curate(settings, progress=True, cache=cfg.paths.check_cache)
