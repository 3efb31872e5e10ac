"""What cannot be: steps of other levels or axes, keys without use, images that are too small."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cytoloop.errors import ConfigError
from cytoloop.training.prepare.plan.choices import KERNELS, PATCH, RESOLUTION, STRIDES

log = logging.getLogger(__name__)

LEVELS = ("features", "layers")
"""Keys that mean the planned networks only."""


def check_levels(known: Mapping[str, Any], dims: int, where: str) -> None:
    """Refuse strides and kernels of other levels or axes than the rest has.

    Parameters
    ----------
    known : mapping
        What is settled before the plan, by key.
    dims : int
        2 or 3.
    where : str
        What holds it, for the message.

    Raises
    ------
    ConfigError
        All that contradict each other.
    """
    problems = [
        f"{key}: is {known[key]!r}, expected a list, a value for each {each}"
        for key, each in ((STRIDES, "level"), (KERNELS, "level"), (RESOLUTION, "axis"))
        if key in known and (not isinstance(known[key], list) or not known[key])
    ]
    if problems:
        raise ConfigError(where, problems, "As model.backbone.strides=[1,2,2]; or leave them out.")
    levels = {key: len(known[key]) for key in (STRIDES, KERNELS) if key in known}
    if "layers" in known and (known["layers"], {*levels.values()}) != (2, {3}):
        levels["layers"] = known["layers"]  # a U-Net of 2 levels has a third that shrinks nothing
    if len(set(levels.values())) > 1:
        told = ", ".join(f"{key} {count}" for key, count in levels.items())
        problems.append(f"these have different numbers of levels: {told}")
    for key in (STRIDES, KERNELS):
        if any(isinstance(one, list) and len(one) != dims for one in known.get(key, ())):
            problems.append(f"{key}: the images have {dims} axes")
    if STRIDES in known and known[STRIDES][0] not in (1, [1] * dims):
        problems.append(f"{STRIDES}: the first is {known[STRIDES][0]}, expected 1")
    for key in (PATCH, RESOLUTION):
        if len(known.get(key, [0] * dims)) != dims:
            problems.append(f"{key}: {len(known[key])} numbers, the images are {dims}D")
    if problems:
        raise ConfigError(where, problems, "Make them alike, or leave them out.")


def tell_unused(cfg: DictConfig, given: Mapping[str, Any]) -> None:
    """Warn of features and levels that a network has no argument for, as it is not planned.

    Parameters
    ----------
    cfg : DictConfig
        With the network, if it is one of ours.
    given : mapping
        What the config says itself, by key.
    """
    typed = ", ".join(f"{key}={given[key]}" for key in LEVELS if key in given)
    target = OmegaConf.select(cfg, "model.backbone._target_")
    if typed and target:
        kind = str(target).rpartition(".")[2]
        log.warning("%s: %s has arguments of its own (+model.backbone.NAME=)", typed, kind)


def check_room(multiples: Sequence[int], smallest: Sequence[int], target: str) -> None:
    """Refuse a network that takes no patch of the smallest image.

    Parameters
    ----------
    multiples, smallest : sequence of int
        [Z,] Y, X, in voxels: what a side of a patch must be a multiple of; the least side of all
        images.
    target : str
        The network's class.

    Raises
    ------
    ConfigError
        Each axis that is too short.
    """
    names = "ZYX"[-len(multiples) :]
    problems = [
        f"takes multiples of {step} along {axis}, and the smallest image has {size}"
        for axis, step, size in zip(names, multiples, smallest, strict=True)
        if size < step
    ]
    if problems:
        kind = target.rpartition(".")[2]
        repair = "Take fewer layers or another network, or leave out the images that are too small."
        raise ConfigError("model.backbone", [f"{kind} {one}" for one in problems], repair)
