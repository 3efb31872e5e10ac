"""Fill in every value of a config that is ``auto``."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from cytoloop.bounds import AUTO
from cytoloop.data.cached_image import CachedImage, filtered_images
from cytoloop.errors import ConfigError
from cytoloop.intensity.preparation import KEY, Preparation, is_function
from cytoloop.manifest import Manifest
from cytoloop.model.networks import ADAPTERS, DYNUNET, PlannedNetwork, network_arguments
from cytoloop.model.sizes import size_multiples
from cytoloop.training.launch import process_count
from cytoloop.training.prepare import bounds
from cytoloop.training.prepare.classes import image_cache_of
from cytoloop.training.prepare.config import has_key, value_of, with_values, without
from cytoloop.training.prepare.dataset import DatasetFacts
from cytoloop.training.prepare.patch_size import check_patch_size
from cytoloop.training.prepare.plan.choice import (
    FEATURES,
    LAYERS,
    OBJECT_VOXELS,
    PATCH,
    RESOLUTION,
    STRIDES,
    Choice,
)
from cytoloop.training.prepare.plan.consistency import check_levels, check_room, warn_of_unused
from cytoloop.training.prepare.plan.cost import Cost, step_cost
from cytoloop.training.prepare.plan.file import CHECKS
from cytoloop.training.prepare.plan.fingerprint import Fingerprint, fingerprint
from cytoloop.training.prepare.plan.fixed_values import Fixed, PlanFile, fixed_values
from cytoloop.training.prepare.plan.machine import Machine, find_machine
from cytoloop.training.prepare.plan.network import plan_network
from cytoloop.training.prepare.plan.rules import multiples_of
from cytoloop.training.prepare.plan.training_values import plan_values

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """The values that were left to the plan, and what they were made from.

    Attributes
    ----------
    choices : tuple of Choice
        Empty if the config left nothing open.
    fingerprint : Fingerprint or None
    machine : Machine or None
    """

    choices: tuple[Choice, ...] = ()
    fingerprint: Fingerprint | None = None
    machine: Machine | None = None


def resolve_auto(
    cfg: DictConfig,
    dataset: Mapping[str, Manifest],
    facts: DatasetFacts,
    plan_file: PlanFile | None = None,
    parent: Path | None = None,
) -> tuple[DictConfig, Plan]:
    """Return a config without ``auto``, and the plan. Values that the config states stay.

    Parameters
    ----------
    cfg : DictConfig
        Composed config of `train` or `check`, with class heads.
    dataset : mapping of str to Manifest
    facts : DatasetFacts
        Of the training and validation rows.
    plan_file : PlanFile, optional
        A plan to follow (`plan=`): it states values that the config leaves open.
    parent : Path, optional
        A checkpoint to start from: its network is planned again.

    Raises
    ------
    ConfigError
        A value that the images or the network do not allow, with the nearest one that they do.
    """
    dims = facts.spatial_dims
    fixed = fixed_values(cfg, dims, plan_file, parent)
    open_keys = _open_keys(cfg, fixed)
    if not _has_open_values(cfg, open_keys):
        return _complete_scale(cfg, dataset, facts, fixed, open_keys), Plan()
    target = str(value_of(cfg, "model.backbone._target_"))
    if target not in ADAPTERS:
        warn_of_unused(target, fixed.given)
    check_levels(fixed.values, dims, fixed.source or "config")

    found = fingerprint(_training_images(cfg, dataset))
    machine = _machine(cfg)
    network, network_choices = plan_network(found, facts.smallest, fixed.values, machine)
    spacing = fixed.values.get(RESOLUTION, found.spacing)
    if LAYERS not in fixed.values:
        fitting = _fitting_network(cfg, target, network, spacing, facts.smallest)
        network, network_choices = fitting.network, fitting.choices(network_choices)
    cfg = _with_network(cfg, target, network, spacing)
    multiples = _multiples(cfg, target, dims)
    check_room(multiples, facts.smallest, target)
    cost = _step_cost(cfg, network, spacing, multiples, found.channels)
    patch, choices = plan_values(found, facts.smallest, fixed.values, machine, cost, multiples)
    check_patch_size(patch, multiples, facts.shapes)

    stated = [Choice(key, fixed.values[key], why) for key, why in fixed.reasons.items()]
    planned = [one for one in [*network_choices, *choices] if one.key not in fixed.reasons]
    unused = () if target in ADAPTERS else (FEATURES, LAYERS)
    kept = [
        one
        for one in [*stated, *planned]
        if one.key in open_keys and one.key not in unused and has_key(cfg, one.key)
    ]
    cfg = with_values(cfg, {PATCH: patch, **{one.key: one.value for one in kept}})
    return cfg, Plan(tuple(kept), found, machine)


def _open_keys(cfg: DictConfig, fixed: Fixed) -> set[str]:
    """Return the keys of a plan that the config leaves open."""

    def is_open(key: str) -> bool:
        value = value_of(cfg, key)
        return has_key(cfg, key) and (value == AUTO or (key == OBJECT_VOXELS and value is None))

    found = {key for key in CHECKS if key != PATCH and is_open(key)}
    return found | ({PATCH} if None in fixed.given[PATCH] else set())


def _has_open_values(cfg: DictConfig, open_keys: set[str]) -> bool:
    """Return whether anything is left to the plan, other than the size of objects."""
    backbone = value_of(cfg, "model.backbone") or {}
    return not open_keys <= {OBJECT_VOXELS} or AUTO in backbone.values()


def _complete_scale(
    cfg: DictConfig,
    dataset: Mapping[str, Manifest],
    facts: DatasetFacts,
    fixed: Fixed,
    open_keys: set[str],
) -> DictConfig:
    """Return a fully stated config, its patch checked and the size of objects measured."""
    target = str(value_of(cfg, "model.backbone._target_"))
    multiples = _multiples(cfg, target, facts.spatial_dims)
    check_patch_size(fixed.given[PATCH], multiples, facts.shapes)
    values: dict[str, Any] = {PATCH: fixed.given[PATCH]}
    if OBJECT_VOXELS in open_keys:
        measured = fingerprint(_training_images(cfg, dataset)).object_voxels
        values[OBJECT_VOXELS] = round(measured, 1)
    return with_values(cfg, values)


def _machine(cfg: DictConfig) -> Machine:
    """Return the machine as one process of the training will use it."""
    machine = find_machine(
        str(value_of(cfg, "trainer.accelerator") or AUTO),
        str(value_of(cfg, "trainer.precision") or AUTO),
        value_of(cfg, "budget_minutes"),
    )
    count = process_count(cfg.trainer)
    if machine.kind != "cpu" or count == 1:
        return machine
    return replace(machine, macs=machine.macs / count, memory=machine.memory / count)


def _training_images(cfg: DictConfig, dataset: Mapping[str, Manifest]) -> Sequence[CachedImage]:
    """Return the training images from the cache, filtered; validation images are read as well."""
    rows = [*dataset["train"], *dataset["valid"]]
    images = image_cache_of(cfg).entries(rows, progress=True)[: len(dataset["train"])]
    steps = [one for one in value_of(cfg, KEY) or () if not is_function(one)]
    return filtered_images(images, Preparation(steps)) if steps else images


def _with_network(
    cfg: DictConfig, target: str, network: PlannedNetwork, spacing: Sequence[float]
) -> DictConfig:
    """Return a config with the network's arguments in place of ``auto``.

    Arguments that the class does not have are removed.
    """
    arguments = network_arguments(target, network, spacing)
    backbone = value_of(cfg, "model.backbone") or {}
    left = [name for name, value in backbone.items() if value == AUTO]
    filled = {f"model.backbone.{name}": arguments[name] for name in left if name in arguments}
    unknown = [name for name in left if name not in arguments]
    return without(with_values(cfg, filled), "model.backbone", unknown)


@dataclass(frozen=True)
class _Fitting:
    """A network with as many levels as the smallest image has room for, and why."""

    network: PlannedNetwork
    reason: str | None = None

    def choices(self, choices: Sequence[Choice]) -> list[Choice]:
        if self.reason is None:
            return list(choices)
        others = [one for one in choices if one.key != LAYERS]
        return [*others, Choice(LAYERS, self.network.layers, self.reason)]


def _fitting_network(
    cfg: DictConfig,
    target: str,
    network: PlannedNetwork,
    spacing: Sequence[float],
    smallest: Sequence[int],
) -> _Fitting:
    """Return a network with fewer levels if it would shrink the smallest image to nothing.

    The plan of a DynUNet has taken the sizes into account; other classes halve axes by rules of
    their own.
    """
    fitting = _Fitting(network)
    if target not in ADAPTERS:
        return fitting
    for layers in range(network.layers, bounds.LAYERS[0], -1):
        tried = _with_network(cfg, target, replace(network, layers=layers), spacing)
        multiples = _multiples(tried, target, len(smallest))
        short = [size < step for size, step in zip(smallest, multiples, strict=True)]
        if not any(short):
            break
        axis = short.index(True)
        name = "ZYX"[-len(short) :][axis]
        reason = f"images of {smallest[axis]} along {name} have no room for more"
        fitting = _Fitting(replace(network, layers=layers - 1), reason)
    return fitting


def _step_cost(
    cfg: DictConfig,
    network: PlannedNetwork,
    spacing: Sequence[float],
    multiples: Sequence[int],
    channels: int,
) -> Cost:
    """Return the cost of a training step.

    The cost of a class that cannot be laid out is taken to be that of the planned DynUNet.

    Raises
    ------
    ConfigError
        Strides and kernels that no network has.
    """
    dims = len(spacing)
    cost = step_cost(_backbone(cfg, dims, channels), multiples)
    if cost is None:
        cost = step_cost(dynunet_of(network, spacing), multiples_of(network.strides, dims))
    if cost is None:
        found = f"no network has strides {network.strides} and kernels {network.kernels}"
        repair = "Take strides of 1 and 2 and odd kernels, or leave both to the plan."
        raise ConfigError("model.backbone", found, repair)
    return cost


def dynunet_of(network: PlannedNetwork, spacing: Sequence[float]) -> dict[str, Any]:
    """Return class and arguments of a planned DynUNet with one channel in and out."""
    sizes = {"spatial_dims": len(spacing), "in_channels": 1, "out_channels": 1}
    return {"_target_": DYNUNET, **sizes, **network_arguments(DYNUNET, network, spacing)}


def _multiples(cfg: DictConfig, target: str, dims: int) -> list[int]:
    """Return the number that each side of a patch must be a multiple of; 1 if it is unknown."""
    if value_of(cfg, "model.backbone") is None or target == DYNUNET:
        return multiples_of(value_of(cfg, STRIDES) or [], dims)
    return size_multiples(_backbone(cfg, dims), dims) or [1] * dims


def _backbone(cfg: DictConfig, dims: int, channels: int = 1) -> dict[str, Any]:
    """Return class and arguments of the config's network as plain values."""
    node = cfg.model.get("backbone") if has_key(cfg, "model.backbone") else None
    names = [name for name in (node or {}) if name not in ("spatial_dims", "in_channels")]
    known = {name: value_of(cfg, f"model.backbone.{name}") for name in names}
    return {**known, "spatial_dims": dims, "in_channels": channels}
