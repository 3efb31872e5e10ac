"""`cytoloop curate`: images and decisions in, a manifest out."""

from __future__ import annotations

import logging
from dataclasses import fields
from typing import Any

from cytoloop.app import plain
from cytoloop.curation import Settings, curate

log = logging.getLogger(__name__)


def run(cfg: Any) -> None:
    """Pair, judge and split images, and write the manifest."""
    values = plain(cfg)
    values["paths"] = values.pop("paths_in_manifest")  # `paths` is a config group
    values |= values.pop("split")
    settings = Settings(**{field.name: values[field.name] for field in fields(Settings)})
    curate(settings, progress=True, cache=cfg.paths.checks)
    log.info("next: cytoloop train experiment=nuclei_3d data.path=%s", cfg.output)
