"""`cytoloop curate`: images and decisions in, a manifest out."""

from __future__ import annotations

import logging
from typing import Any

from cytoloop.app import plain
from cytoloop.curation import curate

log = logging.getLogger(__name__)


def run(cfg: Any) -> None:
    """Pair, check and split images, and write the manifest."""
    settings = plain(cfg)
    settings["paths"] = settings.pop("paths_in_manifest")  # `paths` is a config group
    result = curate(**settings)
    counts = ", ".join(f"{number} {name}" for name, number in result.counts.items())
    log.info("%s: %s", cfg.output, counts)
    log.info("next: cytoloop train experiment=nuclei_3d data.path=%s", cfg.output)
