"""Checks of planned values against each other, the images and the network."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from cytoloop.errors import ConfigError
from cytoloop.training.prepare.plan.choice import (
    FEATURES,
    KERNELS,
    LAYERS,
    PATCH,
    RESOLUTION,
    STRIDES,
)

log = logging.getLogger(__name__)


def check_levels(fixed: Mapping[str, Any], dims: int, where: str) -> None:
    """Refuse strides, kernels, patch and resolution with different levels or axes.

    Parameters
    ----------
    fixed : mapping
        Values that are not left to the plan, by key.
    dims : int
        Axes of the images, 2 or 3.
    where : str
        Where the values come from, for the message.

    Raises
    ------
    ConfigError
        All contradictions.
    """
    problems = [
        f"{key}: is {fixed[key]!r}, expected a list, a value for each {each}"
        for key, each in ((STRIDES, "level"), (KERNELS, "level"), (RESOLUTION, "axis"))
        if key in fixed and (not isinstance(fixed[key], list) or not fixed[key])
    ]
    if problems:
        example = "Write model.backbone.strides=[1,2,2], for example; or leave them out."
        raise ConfigError(where, problems, example)
    levels = {key: len(fixed[key]) for key in (STRIDES, KERNELS) if key in fixed}
    if LAYERS in fixed and (fixed[LAYERS], {*levels.values()}) != (2, {3}):
        levels[LAYERS] = fixed[LAYERS]  # a DynUNet of 2 levels has a third that shrinks nothing
    if len(set(levels.values())) > 1:
        listed = ", ".join(f"{key} {count}" for key, count in levels.items())
        problems.append(f"these have different numbers of levels: {listed}")
    for key in (STRIDES, KERNELS):
        if any(isinstance(one, list) and len(one) != dims for one in fixed.get(key, ())):
            problems.append(f"{key}: the images have {dims} axes")
    if STRIDES in fixed and fixed[STRIDES][0] not in (1, [1] * dims):
        problems.append(f"{STRIDES}: the first is {fixed[STRIDES][0]}, expected 1")
    for key in (PATCH, RESOLUTION):
        if len(fixed.get(key, [0] * dims)) != dims:
            problems.append(f"{key}: {len(fixed[key])} numbers, the images are {dims}D")
    if problems:
        raise ConfigError(where, problems, "Make them agree, or leave them out.")


def warn_of_unused(target: str | None, given: Mapping[str, Any]) -> None:
    """Warn of features and levels for a network without an adapter, which ignores them.

    Parameters
    ----------
    target : str or None
        Path of the network's class.
    given : mapping
        Values that the config states, by key.
    """
    unused = ", ".join(f"{key}={given[key]}" for key in (FEATURES, LAYERS) if key in given)
    if unused and target:
        name = target.rpartition(".")[2]
        log.warning(
            "%s is not used: %s has its own arguments (+model.backbone.NAME=)", unused, name
        )


def check_room(multiples: Sequence[int], smallest: Sequence[int], target: str) -> None:
    """Refuse a network for which the smallest image is too small.

    Parameters
    ----------
    multiples, smallest : sequence of int
        [Z,] Y, X, in voxels: each side of a patch must be a multiple of its number; the smallest
        size of all images.
    target : str
        Path of the network's class.

    Raises
    ------
    ConfigError
        Each axis that is too short.
    """
    name = target.rpartition(".")[2]
    problems = [
        f"{name} takes multiples of {step} along {axis}, and the smallest image has {size}"
        for axis, step, size in zip("ZYX"[-len(multiples) :], multiples, smallest, strict=True)
        if size < step
    ]
    if problems:
        repair = "Take fewer layers or another network, or leave out the images that are too small."
        raise ConfigError("model.backbone", problems, repair)
