"""From a config with `auto` in it to one that runs: the plan is made and filled in."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from cytoloop.bounds import AUTO
from cytoloop.data.cached_image import CachedImage
from cytoloop.errors import ConfigError
from cytoloop.manifest import Manifest
from cytoloop.model.checkpoint import read_checkpoint
from cytoloop.model.sizes import size_multiples
from cytoloop.training.prepare.bounds import LAYERS
from cytoloop.training.prepare.classes import store_of
from cytoloop.training.prepare.dataset import DatasetFacts, check_axes, check_patch_size
from cytoloop.training.prepare.plan.choices import (
    KERNELS,
    NORM,
    PATCH,
    RESOLUTION,
    SCALE,
    STRIDES,
    Choice,
    Network,
    plan_network,
    plan_training,
)
from cytoloop.training.prepare.plan.conflicts import LEVELS, check_levels, check_room, tell_unused
from cytoloop.training.prepare.plan.cost import step_cost
from cytoloop.training.prepare.plan.file import CHECKS, is_plain, read_plan
from cytoloop.training.prepare.plan.fingerprint import Fingerprint, fingerprint
from cytoloop.training.prepare.plan.machine import Hardware, find_hardware
from cytoloop.training.prepare.plan.networks import (
    DYNUNET,
    PLANNED,
    network_arguments,
    planned_unet,
)
from cytoloop.training.prepare.plan.rules import multiples_of
from cytoloop.training.processes import process_count

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What was left to the plan, and what it was made from.

    Attributes
    ----------
    choices : tuple of Choice
        Empty where nothing was left to it.
    fingerprint : Fingerprint or None
    hardware : Hardware or None
    """

    choices: tuple[Choice, ...] = ()
    fingerprint: Fingerprint | None = None
    hardware: Hardware | None = None


def settle(
    cfg: DictConfig,
    dataset: Mapping[str, Manifest],
    facts: DatasetFacts,
    file: Path | None = None,
    init_from: Path | None = None,
) -> Plan:
    """Fill in every value that is `auto`; what is given stays, and the plan adapts to it.

    Parameters
    ----------
    cfg : DictConfig
        Composed config of `train` or `check`; changed in place.
    dataset : mapping of str to Manifest
    facts : DatasetFacts
        Of the training and validation rows.
    file : Path, optional
        A plan to go by (`plan=`): it says what is `auto` in the config.
    init_from : Path, optional
        A checkpoint to start from: the network is then its network.

    Raises
    ------
    ConfigError
        A value that the images or the network do not allow, with the nearest that they do.
    """
    dims = facts.spatial_dims
    given = _given(cfg, facts)
    passed = read_plan(file) if file is not None else {}
    target = str(OmegaConf.select(cfg, "model.backbone._target_"))
    free = {key for key in CHECKS if key != PATCH and _is_open(cfg, key)}
    free |= {PATCH} if None in given[PATCH] else set()
    if free <= {SCALE} and AUTO not in (OmegaConf.select(cfg, "model.backbone") or {}).values():
        check_patch_size(given[PATCH], _multiples(cfg, target, dims), facts)
        if SCALE in free:
            measured = fingerprint(_training_entries(cfg, dataset)).object_voxels
            OmegaConf.update(cfg, SCALE, round(measured, 1))
        return Plan()

    former = _of_checkpoint(init_from, target) if init_from else {}
    if "layers" in given:  # a typed depth makes strides anew
        passed = {k: v for k, v in passed.items() if k not in ("layers", STRIDES, KERNELS)}
    source = cfg.plan if str(cfg.plan).startswith("runs:") else file
    reasons = dict.fromkeys(passed, f"as {source} says")
    reasons |= dict.fromkeys(former, "as in the model to start from")
    known = passed | former | given
    for key in (key for key in passed if known[key] != passed[key] and key != PATCH):
        why = "given in the config" if key in given else "of the model to start from"
        log.warning("%s: %s of %s is not used, %s is %s", key, passed[key], source, known[key], why)
    if former:  # its norm, be it the network's default
        known.setdefault(NORM, None)
    if PATCH in passed:
        sides = passed[PATCH]
        known[PATCH] = [t or s for t, s in zip(given[PATCH], sides, strict=False)]
        known[PATCH] += sides[dims:]
    if target not in PLANNED:  # what they call so is theirs; a plan's are DynUNet's
        known = {key: value for key, value in known.items() if key not in (STRIDES, KERNELS)}
        tell_unused(cfg, given)
    check_levels(known, dims, str(file or "config"))

    found = fingerprint(_training_entries(cfg, dataset))
    machine = find_hardware(
        str(OmegaConf.select(cfg, "trainer.accelerator") or AUTO),
        str(OmegaConf.select(cfg, "trainer.precision") or AUTO),
        OmegaConf.select(cfg, "budget_minutes"),
    )
    if machine.kind == "cpu" and (count := process_count(cfg.trainer)) > 1:  # each has a part of it
        machine = replace(machine, macs=machine.macs / count, memory=machine.memory / count)
    smallest = [min(sides) for sides in zip(*facts.shapes.values(), strict=True)]
    network = plan_network(found, smallest, known, machine)
    spacing = known.get(RESOLUTION, found.spacing)
    if "layers" not in known:
        network = _flatter(cfg, target, network, spacing, smallest)
    _fill_backbone(cfg, network_arguments(target, network, spacing))
    multiples = _multiples(cfg, target, dims)
    check_room(multiples, smallest, target)
    cost = step_cost(_backbone(cfg, dims, found.channels), multiples)
    if cost is None:  # no network of MONAI's, or for one size only: the planned U-Net stands in
        cost = step_cost(planned_unet(network, spacing), multiples_of(network.strides, dims))
    if cost is None:
        told = f"no network has strides {network.strides} and kernels {network.kernels}"
        repair = "Take strides of 1 and 2 and odd kernels, or leave both to the plan."
        raise ConfigError("model.backbone", told, repair)
    patch, choices = plan_training(found, smallest, known, machine, cost, multiples)
    check_patch_size(patch, multiples, facts)
    cfg.data.patch_size = patch
    said = [Choice(key, known[key], why) for key, why in reasons.items()]
    said += [one for one in [*network.choices, *choices] if one.key not in reasons]
    # what is not there any more the network has no use for
    unused = () if target in PLANNED else LEVELS
    kept = [one for one in said if one.key in free and one.key not in unused]
    kept = [one for one in kept if _is_there(cfg, one.key)]
    for choice in kept:
        OmegaConf.update(cfg, choice.key, choice.value)
    return Plan(tuple(kept), found, machine)


def _given(cfg: DictConfig, facts: DatasetFacts) -> dict[str, Any]:
    """Return what the config says itself; of the patch a number or None for each axis."""
    given = {}
    for key in (*CHECKS, "model.backbone.filters"):
        value = OmegaConf.select(cfg, key)
        if value is not None and value != AUTO:
            given[key] = OmegaConf.to_object(value) if OmegaConf.is_config(value) else value
    if filters := given.pop("model.backbone.filters", None):
        given |= {"features": int(filters[0]), "layers": len(filters)}
    patch, dims = given.get(PATCH, AUTO), facts.spatial_dims
    if isinstance(patch, list):
        check_axes(patch, facts)
        given[PATCH] = [None if side == AUTO else side for side in patch]
    else:  # one number is for Y and X
        given[PATCH] = [None] * (dims - 2) + [None if patch == AUTO else patch] * 2
    return given


def _is_open(cfg: DictConfig, key: str) -> bool:
    """Tell whether a key is in the config and left to the plan."""
    if not _is_there(cfg, key):
        return False
    value = OmegaConf.select(cfg, key)
    return bool(value == AUTO or (key == SCALE and value is None))


def _is_there(cfg: DictConfig, key: str) -> bool:
    group, _, name = key.rpartition(".")
    table = OmegaConf.select(cfg, group) if group else cfg
    return table is not None and name in table


def _of_checkpoint(path: Path, target: str) -> dict[str, Any]:
    """Return the plan of a checkpoint's network; it may be anyone's, so plain numbers only."""
    checkpoint = read_checkpoint(path)
    backbone = checkpoint.backbone
    if backbone.get("_target_") != target:
        return {}
    filters = backbone.get("filters") or [backbone.get("init_filters")]
    levels = backbone.get("blocks_down") or backbone.get("filters") or ()
    rule = checkpoint.image.get("normalization") or {}
    values = {
        "features": filters[0],
        "layers": len(levels),
        STRIDES: backbone.get("strides"),
        KERNELS: backbone.get("kernel_size"),
        RESOLUTION: backbone.get("resolution"),
        NORM: backbone.get("norm_name"),
        "normalization.lower": rule.get("lower"),
        "normalization.upper": rule.get("upper"),
    }
    return {key: value for key, value in values.items() if is_plain(key, value)}


def _training_entries(cfg: DictConfig, dataset: Mapping[str, Manifest]) -> Sequence[CachedImage]:
    """Return the store's entries of the training rows; training finds all of them there."""
    store = store_of(cfg)
    rows = [*dataset["train"], *dataset["valid"]]
    return store.entries(rows, progress=True)[: len(dataset["train"])]


def _fill_backbone(cfg: DictConfig, arguments: Mapping[str, Any]) -> None:
    """Give the network its arguments; it has no use for what is still left to the plan."""
    backbone = OmegaConf.select(cfg, "model.backbone") or {}
    with open_dict(cfg):
        for name in [name for name in backbone if backbone[name] == AUTO]:
            if name in arguments:
                backbone[name] = arguments[name]
            else:
                del backbone[name]


def _flatter(
    cfg: DictConfig, target: str, network: Network, spacing: Sequence[float], smallest: list[int]
) -> Network:
    """Return a network of fewer levels where one shrinks more than the smallest image has.

    A DynUNet is planned so; others halve axes by rules of their own.
    """
    if target not in PLANNED:
        return network
    for layers in range(network.layers, LAYERS[0], -1):
        tried = copy.deepcopy(cfg)
        fewer = replace(network, layers=layers)
        _fill_backbone(tried, network_arguments(target, fewer, spacing))
        multiples = _multiples(tried, target, len(smallest))
        short = [n < m for n, m in zip(smallest, multiples, strict=True)]
        if not any(short):
            break
        axis = short.index(True)
        why = f"images of {smallest[axis]} along {'ZYX'[-len(short) :][axis]} carry no more"
        said = [one for one in network.choices if one.key != "layers"]
        network = replace(
            network, layers=layers - 1, choices=[*said, Choice("layers", layers - 1, why)]
        )
    return network


def _multiples(cfg: DictConfig, target: str, dims: int) -> list[int]:
    """Return what each side of a patch must be a multiple of; 1 where that cannot be told."""
    if OmegaConf.select(cfg, "model.backbone") is None or target == DYNUNET:
        return multiples_of(OmegaConf.select(cfg, STRIDES) or [], dims)
    return size_multiples(_backbone(cfg, dims), dims) or [1] * dims


def _backbone(cfg: DictConfig, dims: int, channels: int = 1) -> dict[str, Any]:
    """Return the network's class and arguments as plain values."""
    backbone = OmegaConf.select(cfg, "model.backbone") or {}
    known = {
        name: backbone[name] for name in backbone if name not in ("spatial_dims", "in_channels")
    }
    plain = {k: OmegaConf.to_object(v) if OmegaConf.is_config(v) else v for k, v in known.items()}
    return {**plain, "spatial_dims": dims, "in_channels": channels}
