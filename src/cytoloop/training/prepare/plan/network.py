"""The planned network: features, levels, strides and kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cytoloop.errors import ConfigError
from cytoloop.model.networks import PlannedNetwork
from cytoloop.training.prepare import bounds
from cytoloop.training.prepare.plan.choice import (
    FEATURES,
    KERNELS,
    LAYERS,
    NORM,
    PATCH,
    RESOLUTION,
    STRIDES,
    Choice,
    product_text,
)
from cytoloop.training.prepare.plan.fingerprint import Fingerprint
from cytoloop.training.prepare.plan.machine import Machine
from cytoloop.training.prepare.plan.rules import choose_layers, choose_strides

_DYNUNET_MIN_LEVELS = 3
"""MONAI's DynUNet has at least three levels; a level that is not wanted shrinks nothing."""
MIN_IMAGES = 8
"""With fewer images, statistics over all of them are unreliable."""


def plan_network(
    found: Fingerprint, smallest: Sequence[int], fixed: Mapping[str, Any], machine: Machine
) -> tuple[PlannedNetwork, list[Choice]]:
    """Return the network and the choices that were left to the plan.

    Parameters
    ----------
    found : Fingerprint
    smallest : sequence of int
        Smallest size of all images along each axis, [Z,] Y, X.
    fixed : mapping
        Values that are not left to the plan, by key; of the patch a number or None for each axis.
    machine : Machine

    Raises
    ------
    ConfigError
        The images or the patch are too small for the number of levels.
    """
    choices: list[Choice] = []

    def choose(key: str, value: Any, reason: str) -> Any:
        if key in fixed:
            return fixed[key]
        choices.append(Choice(key, value, reason))
        return value

    features = choose(FEATURES, *_features(found, machine))
    norm = fixed.get(NORM)
    if NORM not in fixed and found.images >= MIN_IMAGES:
        reason = f"{found.images} images: their statistics also hold for an empty window"
        norm = choose(NORM, "batch", reason)
    if STRIDES in fixed:
        strides = fixed[STRIDES]
        kernels = fixed.get(KERNELS, [3] * len(strides))
        return PlannedNetwork(features, len(strides), strides, kernels, norm), choices
    layers, steps, reach = _levels(found, smallest, fixed)
    choose(LAYERS, layers, _why_layers(found, layers))
    while len(steps) < _DYNUNET_MIN_LEVELS:
        steps.append([1] * found.dims)
        reach.append(reach[-1])
    strides, kernels = _shortened(steps), _shortened(reach)
    reason = _why_strides(found, strides)
    choose(STRIDES, strides, reason)
    choose(RESOLUTION, list(found.spacing), reason)
    flat = any(isinstance(one, list) for one in kernels)
    reason = "size 1 along an axis that is 3 times as coarse" if flat else "all axes are alike"
    kernels = choose(KERNELS, kernels, reason)
    if len(kernels) != len(strides):
        raise ConfigError(
            KERNELS,
            f"has {len(kernels)} levels, the network has {len(strides)}",
            f"Give {len(strides)}, or leave it out.",
        )
    return PlannedNetwork(features, layers, strides, kernels, norm), choices


def _features(found: Fingerprint, machine: Machine) -> tuple[int, str]:
    if machine.kind == "cuda":
        return 32, "a GPU has the memory and the speed for them"
    if found.dims == 2:
        return 32, "2D images are cheap"
    return 16, "twice as many take four times as long, and stacks on a CPU are slow"


def _large_object(found: Fingerprint) -> list[float]:
    """Return Y and X of a large object (95th percentile), in voxels of the finest axis."""
    finest = min(found.spacing)
    extents = found.diameter[2] if found.diameter else ()
    return [e * s / finest for e, s in zip(extents, found.spacing, strict=False)][-2:]


def _levels(
    found: Fingerprint, smallest: Sequence[int], fixed: Mapping[str, Any]
) -> tuple[int, list[list[int]], list[list[int]]]:
    """Return the number of levels, and the strides and kernels of each level and axis.

    Raises
    ------
    ConfigError
        The user asks for more levels than the patch has room for.
    """
    typed = fixed.get(KERNELS)
    default = len(typed) if typed else choose_layers(_large_object(found))
    wanted = fixed.get(LAYERS, default)
    sizes = [side or size for side, size in zip(fixed[PATCH], smallest, strict=True)]
    steps, kernels = choose_strides(found.spacing, sizes, wanted, fixed[PATCH])
    layers = max(len(steps), bounds.LAYERS[0])
    if fixed.get(LAYERS, layers) != layers:
        raise ConfigError(
            LAYERS,
            f"is {wanted}, but patches of {product_text(sizes)} can be halved {layers - 1} times, "
            f"to whole sides of 4 voxels or more; nearest: {layers}",
            f"Take fewer layers, or another data.patch_size if the images allow it: a multiple of "
            f"{2 ** (wanted - 1)}, {2 ** (wanted + 1)} or more.",
        )
    return layers, steps, kernels


def _why_layers(found: Fingerprint, layers: int) -> str:
    large = _large_object(found)
    wide = f"large objects are {max(large):.0f} pixels wide" if large else "there are no objects"
    return f"{wide}; a pixel of the lowest level covers {2 ** (layers - 1)}"


def _why_strides(found: Fingerprint, strides: Sequence[Any]) -> str:
    known = f"voxels are {found.anisotropy:.2g} times as long as wide"
    known = known if found.spacing_um else "the voxel size is unknown, cubes are assumed"
    even = all(isinstance(one, int) for one in strides)
    return f"{known}: {'all axes are halved alike' if even else 'a coarse axis is halved later'}"


def _shortened(steps: Sequence[Sequence[int]]) -> list[int | list[int]]:
    """Return steps with a single number where all axes have the same."""
    return [step[0] if len(set(step)) == 1 else list(step) for step in steps]
