"""`cytoloop check`: the checks of training, on their own."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cytoloop.training.prepare.steps import Prepared

log = logging.getLogger(__name__)


def run(cfg: Any) -> None:
    """Report every problem of a data set; without one, say what the data set holds."""
    check_dataset(cfg)


def check_dataset(cfg: Any) -> Prepared:
    """Check a data set, log what it holds, and return what the checks found.

    Raises
    ------
    CytoloopError
        With all problems of the data set.
    """
    from cytoloop.bounds import AUTO
    from cytoloop.training.prepare.steps import CHECKS, Prepared, plan, prepare

    with_plan = bool(cfg.plan or cfg.preview) or cfg.data.patch_size != AUTO
    known = prepare(Prepared(cfg), [*CHECKS, plan] if with_plan else CHECKS)
    facts = known.known_facts
    log.info(
        "%s: no problems; %dD, %d input channel(s), voxel %s um",
        cfg.data.path,
        facts.spatial_dims,
        len(facts.channels),
        " x ".join(f"{s:g}" for s in facts.spacing_um) if facts.spacing_um else "unknown",
    )
    if cfg.preview:
        _preview(known.cfg, "preview.png" if cfg.preview is True else str(cfg.preview))
    return known


def _preview(cfg: Any, path: str) -> None:
    """Draw the steps of the preparation, and augmented training patches with their targets."""
    from hydra.utils import instantiate

    from cytoloop.data.preview import draw_preview, preparation_stages
    from cytoloop.io.writers.png import write_png

    module = instantiate(cfg.data, _convert_="all")
    stages = []
    if module.preparation:
        first, steps = module.first_image(), module.preparation
        stages = preparation_stages(first, steps, module.normalization)
    write_png(path, draw_preview(module.patches, module.augmentation, cfg.seed, stages))
    log.info("preview: %s", path)
