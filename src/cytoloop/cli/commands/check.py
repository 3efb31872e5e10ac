"""`cytoloop check`: the preflight of training, by itself."""

from __future__ import annotations

import logging
from typing import Any

from cytoloop.training.prepare.bounds import AUTO, check_knobs
from cytoloop.training.prepare.classes import check_truth, settle_classes
from cytoloop.training.prepare.dataset import preflight

log = logging.getLogger(__name__)


def run(cfg: Any) -> None:
    """Report every problem of a data set; say what is in it where there is none."""
    check_knobs(cfg)
    settle_classes(cfg)
    dataset, facts = preflight(cfg.data.path, cfg.data.fold, cfg.data.get("replay_path"))
    check_truth(cfg, dataset)
    if cfg.plan or cfg.preview or cfg.data.patch_size != AUTO:
        from cytoloop.tracking.artifacts import find_artifact
        from cytoloop.training.prepare.plan.run import plan_run

        plan_run(cfg, dataset, facts, find_artifact)
    log.info(
        "%s: fine. %s; %dD, %d input channel(s), voxel %s um",
        cfg.data.path,
        ", ".join(f"{len(manifest)} {split}" for split, manifest in dataset.items()),
        facts.spatial_dims,
        len(facts.channels),
        " x ".join(f"{s:g}" for s in facts.spacing_um) if facts.spacing_um else "unknown",
    )
    if cfg.preview:
        _preview(cfg, "preview.png" if cfg.preview is True else str(cfg.preview))


def _preview(cfg: Any, path: str) -> None:
    """Write a sheet of what the network would be shown."""
    from hydra.utils import instantiate

    from cytoloop.data.preview import draw_preview
    from cytoloop.io.writers.tiff import write_png

    module = instantiate(cfg.data, _convert_="all")
    write_png(path, draw_preview(module.patches, module.augmentation, cfg.seed))
    log.info("preview: %s", path)
