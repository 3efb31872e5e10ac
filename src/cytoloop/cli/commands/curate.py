"""`cytoloop curate`: images and decisions in, a manifest out."""

from __future__ import annotations

import logging
from dataclasses import fields
from typing import Any

from cytoloop.cli.app import config_to_dict
from cytoloop.curation import Settings, curate

log = logging.getLogger(__name__)


def run(cfg: Any) -> None:
    """Pair, judge and split images, and write the manifest."""
    values = config_to_dict(cfg)
    values["paths"] = values.pop("paths_in_manifest")  # `paths` is a config group
    values |= values.pop("split")
    settings = Settings(**{field.name: values[field.name] for field in fields(Settings)})
    result = curate(settings, progress=True, cache=cfg.paths.check_cache)
    flat = any(len(one.shape or ()) == 2 for one in result.facts.values())
    recipe = "nuclei_2d" if flat else "nuclei_3d"
    log.info("next: cytoloop train experiment=%s data.path=%s", recipe, cfg.output)
