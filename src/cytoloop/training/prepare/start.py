"""The model that a recipe starts from by default, where it fits images and network."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cytoloop.bounds import AUTO
from cytoloop.model.checkpoint import Checkpoint
from cytoloop.model.networks import planned_values
from cytoloop.pretrained.shipped import SCHEME, find_shipped
from cytoloop.training.prepare.config import value_of, with_values
from cytoloop.training.prepare.dataset import DatasetFacts
from cytoloop.training.prepare.parent import read_parent
from cytoloop.training.prepare.plan.choice import FEATURES, LAYERS, NORM, PATCH

log = logging.getLogger(__name__)

NONE = "none"
"""Value of ``init_from`` that trains from scratch, as null does."""
_RECIPE = "_aux.start"
_OF_DATA = ("_target_", "spatial_dims", "in_channels", "out_channels")


def with_start(cfg: DictConfig, facts: DatasetFacts) -> DictConfig:
    """Return a config whose ``init_from`` names the model to start from, or is null.

    ``auto`` is the shipped model of the recipe. Where it does not fit, the training starts from
    scratch and the log says why: a default changes nothing that the config states.

    Parameters
    ----------
    cfg : DictConfig
        Config of `train`, not planned.
    facts : DatasetFacts
        Of the images.
    """
    start = cfg.init_from
    if start != AUTO:
        return with_values(cfg, {"init_from": None}) if start == NONE else cfg
    uri = OmegaConf.select(cfg, _RECIPE)
    if uri is None or cfg.resume:
        return with_values(cfg, {"init_from": None})
    model = read_parent(find_shipped(str(uri)))
    if reasons := [*_reasons(cfg, model, facts.spatial_dims, facts.smallest)]:
        log.info("training from scratch, not from %s: %s", uri, "; ".join(reasons))
        return with_values(cfg, {"init_from": None})
    log.info("starting from %s; init_from=none trains from scratch", uri)
    return with_values(cfg, {"init_from": str(uri)})


def stated_voxel_size(cfg: DictConfig) -> Any:
    """Return ``data.resample``, with ``auto`` replaced where no image is needed to decide.

    A model to start from keeps the voxel size that it knows. Images stay as they are for a model
    that learns no objects, and for a stated patch size, which is in pixels of the images.
    """
    size = value_of(cfg, "data.resample")
    if size != AUTO:
        return size
    start = str(cfg.get("init_from") or NONE)
    if start not in (NONE, AUTO) and not start.startswith(SCHEME):
        from cytoloop.tracking.checkpoints import locate_checkpoint  # imports mlflow

        image = read_parent(locate_checkpoint(start).path).image
        return image.get("spacing_um") if image.get("resample") else None
    is_open = value_of(cfg, PATCH) == AUTO and "distance" in (value_of(cfg, "data.heads") or ())
    return AUTO if is_open else None


def _reasons(
    cfg: DictConfig, model: Checkpoint, dims: int, smallest: Sequence[int]
) -> Iterator[str]:
    """Yield why a model does not fit."""
    there = model.image.get("spatial_dims")
    if there != dims:
        yield f"it was trained on {there}D images, these are {dims}D (experiment=nuclei_{dims}d)"
        return
    if cfg.get("encoder_weights"):
        yield "encoder_weights is given"
    if value_of(cfg, "plan") not in (AUTO, None, False, True):
        yield f"plan={cfg.plan} states the network"
    own: Mapping[str, Any] = value_of(cfg, "model.backbone") or {}
    if str(own.get("_target_")) != str(model.backbone.get("_target_")):
        yield "the network is of another class"
    elif stated := [k for k, v in own.items() if k not in _OF_DATA and not _is_open(k, v)]:
        yield f"the config states {', '.join(f'model.backbone.{key}' for key in stated)}"
    found = planned_values(model.backbone)
    for key in (FEATURES, LAYERS):
        value = value_of(cfg, key)
        if value not in (AUTO, None, found.get(key)):
            yield f"{key}={value}, the model has {found.get(key)}"
    rule = str(value_of(cfg, "normalization.method"))
    known = str((model.image.get("normalization") or {}).get("method"))
    if rule != known:
        yield f"normalization={rule}, the model has {known}"
    steps = [math.prod(_along(s, axis) for s in model.backbone["strides"]) for axis in range(dims)]
    if any(side < 2 * step for side, step in zip(smallest, steps, strict=True)):
        yield f"an image of {' x '.join(map(str, smallest))} is too small for its network"


def _is_open(key: str, value: Any) -> bool:
    return value == AUTO or (key == NORM.rpartition(".")[2] and value is None)


def _along(stride: int | Sequence[int], axis: int) -> int:
    return stride if isinstance(stride, int) else stride[axis]
