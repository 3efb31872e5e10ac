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
    result = curate_images(cfg)
    is_2d = any(len(check.shape or ()) == 2 for check in result.checks.values())
    recipe = "nuclei_2d" if is_2d else "nuclei_3d"
    path = f"data.path={shlex.quote(str(cfg.output))}"
    log.info("next: cytoloop train experiment=%s %s", recipe, path)


def curate_images(cfg: Any) -> CurationResult:
    """Pair, check and split images, and write the data set."""
    values = config_to_dict(cfg)
    values["paths"] = values.pop("paths_in_manifest")  # `paths` is a config group
    values |= values.pop("split")
    settings = CurationSettings(
        **{field.name: values[field.name] for field in fields(CurationSettings)}
    )
    return curate(settings, progress=True, cache=cfg.paths.check_cache)
