"""From a composed config to one that trains: the steps, in their order.

Each step takes what is known and returns more of it. No step changes a config in place.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from cytoloop.manifest import Manifest
from cytoloop.training.prepare.bounds import check_bounds
from cytoloop.training.prepare.classes import (
    check_background,
    check_truth,
    engine_of,
    set_class_heads,
)
from cytoloop.training.prepare.complete import complete
from cytoloop.training.prepare.config import value_of, with_values
from cytoloop.training.prepare.dataset import DatasetFacts, read_checked_dataset
from cytoloop.training.prepare.dry_run import build_every_part
from cytoloop.training.prepare.exports import check_exports, export_formats
from cytoloop.training.prepare.own_parts import (
    complete_own_parts,
    has_excluded_voxels,
    trusting_config,
)
from cytoloop.training.prepare.parent import (
    check_dimensions,
    take_holes_of_parent,
    take_network_of_parent,
)
from cytoloop.training.prepare.plan.plan import Plan, plan_training_run
from cytoloop.training.prepare.start import stated_voxel_size, with_start

if TYPE_CHECKING:
    from cytoloop.tracking.checkpoints import LocatedCheckpoint

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """What is known of a training before it starts.

    Attributes
    ----------
    cfg : DictConfig
        The config, as complete as the steps so far made it.
    output : Path or None
        The training's folder; None for a check, which writes nothing.
    dataset : mapping of str to Manifest
        Rows by split.
    facts : DatasetFacts or None
        What the images have in common.
    parent : Located or None
        The checkpoint to start from.
    plan : Plan
        What was left to the plan.
    """

    cfg: DictConfig
    output: Path | None = None
    dataset: Mapping[str, Manifest] = field(default_factory=dict)
    facts: DatasetFacts | None = None
    parent: LocatedCheckpoint | None = None
    plan: Plan = field(default_factory=Plan)

    @property
    def known_facts(self) -> DatasetFacts:
        """The facts of the data set, once it was read."""
        if self.facts is None:
            raise RuntimeError("the data set was not read")
        return self.facts


Step = Callable[[Prepared], Prepared]


def bounds(known: Prepared) -> Prepared:
    """Refuse numbers out of their bounds and unknown formats, before any image is read."""
    check_bounds(known.cfg)
    export_formats(known.cfg)
    return known


def class_heads(known: Prepared) -> Prepared:
    """Give a model of classes one head for each class."""
    return replace(known, cfg=set_class_heads(known.cfg))


def own_parts(known: Prepared) -> Prepared:
    """Give the user's network and losses what their classes need."""
    return replace(known, cfg=complete_own_parts(known.cfg))


def data_set(known: Prepared) -> Prepared:
    """Read the manifests, check every row, and collect what the images have in common."""
    data = known.cfg.data
    resample = stated_voxel_size(known.cfg)
    planes = data.get("planes")
    if planes is None and known.cfg.spatial_dims == 2:
        planes = True
    dataset, facts = read_checked_dataset(
        data.path, data.fold, data.get("replay_path"), resample, planes, engine_of(known.cfg)
    )
    counts = ", ".join(f"{len(rows)} {split}" for split, rows in dataset.items())
    log.info("%s: %s", data.path, counts)
    cfg = known.cfg
    if planes is not None and "planes" in data:
        cfg = with_values(cfg, {"data.planes": planes})
    if value_of(cfg, "data.resample") is not None:  # `median` and `auto` become the size, or null
        size = list(facts.spacing_um or ()) if facts.resampled else None
        cfg = with_values(cfg, {"data.resample": size})
    return replace(known, cfg=cfg, dataset=dataset, facts=facts)


def truth(known: Prepared) -> Prepared:
    """Refuse truth images that do not hold what the model's heads learn."""
    check_background(known.cfg, known.known_facts)
    check_truth(known.cfg, known.dataset)
    return known


def parent_model(known: Prepared) -> Prepared:
    """Find the checkpoint to start from, and take its network."""
    known = replace(known, cfg=with_start(known.cfg, known.known_facts))
    start = known.cfg.init_from
    if not start:
        return known
    from cytoloop.tracking.checkpoints import locate_checkpoint  # imports mlflow

    found = locate_checkpoint(start)
    check_dimensions(known.cfg, known.known_facts.spatial_dims, found.path)
    cfg = take_holes_of_parent(known.cfg, found.path)
    return replace(known, cfg=take_network_of_parent(cfg, found.path), parent=found)


def plan(known: Prepared) -> Prepared:
    """Fill in every value that is ``auto``, from the training images and the machine."""
    parent = known.parent.path if known.parent else None
    cfg, made = plan_training_run(
        known.cfg, known.dataset, known.known_facts, parent=parent, output=known.output
    )
    return replace(known, cfg=cfg, plan=made)


def completion(known: Prepared) -> Prepared:
    """Fill in what the data, the parent model and the hardware decide."""
    parent = known.parent.path if known.parent else None
    return replace(known, cfg=complete(known.cfg, known.known_facts, parent))


def exports(known: Prepared) -> Prepared:
    """Refuse formats of the key ``export`` that cannot hold the network."""
    check_exports(known.cfg)
    return known


def dry_run(known: Prepared) -> Prepared:
    """Build every part once, so that a wrong class or argument is found before the run opens."""
    sizes = known.facts.shapes.values() if known.facts else ()
    largest = [max(sides) for sides in zip(*sizes, strict=True)]
    build_every_part(
        known.cfg, largest, lambda: has_excluded_voxels(known.cfg, dict(known.dataset))
    )
    return known


CHECKS: tuple[Step, ...] = (bounds, class_heads, own_parts, data_set, truth)
"""Config and data agree; nothing is measured or built."""
COMPLETION: tuple[Step, ...] = (parent_model, plan, completion, exports, dry_run)
"""The config becomes complete; these steps measure the images and the machine."""


def prepare(known: Prepared, steps: Iterable[Step]) -> Prepared:
    """Return what is known after some steps.

    Raises
    ------
    CytoloopError
        The first step that finds a fault; every step reports all its faults at once.
    """
    with trusting_config(known.cfg):
        for step in steps:
            known = step(known)
    return known
