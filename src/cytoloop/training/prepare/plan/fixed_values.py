"""The values of a plan that are fixed before planning, and who fixed them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from cytoloop.bounds import AUTO
from cytoloop.model.checkpoint import read_checkpoint
from cytoloop.model.networks import ADAPTERS, planned_values
from cytoloop.pretrained.shipped import is_shipped_file
from cytoloop.training.prepare.config import value_of
from cytoloop.training.prepare.patch_size import sides_of
from cytoloop.training.prepare.plan.choice import (
    FEATURES,
    KERNELS,
    LAYERS,
    LOWER,
    NORM,
    PATCH,
    STRIDES,
    UPPER,
)
from cytoloop.training.prepare.plan.file import CHECKS, is_valid, read_plan

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PlanFile:
    """A plan to follow.

    Attributes
    ----------
    path : Path
    source : str
        What the user typed: a path or ``runs:/ID``.
    """

    path: Path
    source: str


@dataclass(frozen=True)
class Fixed:
    """Values that are not left to the plan.

    Attributes
    ----------
    given : dict
        Values that the config states; of the patch a number or None for each axis.
    values : dict
        These, and the values of the parent model and the plan file.
    reasons : dict of str to str
        Key to reason, for the values of the parent model and the plan file.
    source : str or None
        The plan file, for messages.
    """

    given: dict[str, Any]
    values: dict[str, Any]
    reasons: dict[str, str] = field(default_factory=dict)
    source: str | None = None


def fixed_values(
    cfg: DictConfig, dims: int, plan_file: PlanFile | None = None, parent: Path | None = None
) -> Fixed:
    """Return the values that config, parent model and plan file fix, in this order of precedence.

    Raises
    ------
    ConfigError
        A faulty plan file, or a patch with other axes than the images.
    """
    target = str(value_of(cfg, "model.backbone._target_"))
    given = _given(cfg, dims)
    planned = read_plan(plan_file.path) if plan_file else {}
    if LAYERS in given:  # another depth needs other strides
        planned = {k: v for k, v in planned.items() if k not in (LAYERS, STRIDES, KERNELS)}
    inherited = _of_parent(parent, target) if parent else {}
    values = planned | inherited | given
    if plan_file:
        _warn_of_unused_plan(planned, given, values, plan_file.source)
    if inherited:
        values.setdefault(NORM, None)  # the parent's norm, be it the default of the class
    if PATCH in planned:
        sides = planned[PATCH]
        values[PATCH] = [own or other for own, other in zip(given[PATCH], sides, strict=False)]
        values[PATCH] += sides[dims:]
    if target not in ADAPTERS:  # its strides and kernels have another meaning than DynUNet's
        values = {k: v for k, v in values.items() if k not in (STRIDES, KERNELS)}
    reasons = dict.fromkeys(planned, f"as in {plan_file.source if plan_file else ''}")
    reasons |= dict.fromkeys(inherited, "as in the model to start from")
    return Fixed(given, values, reasons, plan_file.source if plan_file else None)


def _given(cfg: DictConfig, dims: int) -> dict[str, Any]:
    """Return the values that the config states."""
    given: dict[str, Any] = {}
    planned = str(value_of(cfg, "model.backbone._target_")) in ADAPTERS
    for key in CHECKS:
        if key.startswith("model.backbone.") and not planned:
            continue  # an argument of this name has another meaning in other classes
        value = value_of(cfg, key)
        if value is not None and value != AUTO:
            given[key] = value
    filters = value_of(cfg, "model.backbone.filters")
    if planned and filters is not None and filters != AUTO:
        given |= {FEATURES: int(filters[0]), LAYERS: len(filters)}
    given[PATCH] = sides_of(given.get(PATCH), dims)
    return given


def _of_parent(path: Path, target: str) -> dict[str, Any]:
    """Return the planned values of a checkpoint, if its network has the class of the config.

    The checkpoint may be anyone's: values that are not valid in a plan are left out. Percentiles of
    a shipped model, which come from synthetic images, are left out too: those that fit the training
    images are worth more (docs/background/trials.md).
    """
    checkpoint = read_checkpoint(path)
    if checkpoint.backbone.get("_target_") != target:
        return {}
    rule = checkpoint.image.get("normalization") or {}
    values = planned_values(checkpoint.backbone)
    if not is_shipped_file(path):
        values |= {LOWER: rule.get("lower"), UPPER: rule.get("upper")}
    return {key: value for key, value in values.items() if is_valid(key, value)}


def _warn_of_unused_plan(
    planned: Mapping[str, Any], given: Mapping[str, Any], values: Mapping[str, Any], source: str
) -> None:
    """Warn of each value of the plan file that something else overrides."""
    for key, value in planned.items():
        if key != PATCH and values[key] != value:
            by = "the config" if key in given else "the model to start from"
            log.warning(
                "%s: %s of %s is not used, %s states %s", key, value, source, by, values[key]
            )
