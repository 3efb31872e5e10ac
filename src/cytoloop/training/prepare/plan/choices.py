"""A plan: a value for every key that is left to it, each with its reason in words."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cytoloop.errors import ConfigError
from cytoloop.training.prepare.bounds import LAYERS
from cytoloop.training.prepare.plan.cost import Cost
from cytoloop.training.prepare.plan.fingerprint import Fingerprint
from cytoloop.training.prepare.plan.machine import Hardware
from cytoloop.training.prepare.plan.networks import shortened
from cytoloop.training.prepare.plan.rules import (
    choose_layers,
    choose_patch,
    choose_strides,
)

log = logging.getLogger(__name__)

PATCH = "data.patch_size"
STRIDES = "model.backbone.strides"
KERNELS = "model.backbone.kernel_size"
RESOLUTION = "model.backbone.resolution"
NORM = "model.backbone.norm_name"
SCALE = "model.image.object_voxels"

_LEAST_BATCH = {2: 8, 3: 2}
"""A plane holds less than a stack; below two nothing is averaged (nnU-Net). Fewer where memory has
no room for them."""
_MOST_BATCH = 32
_LEAST_LEVELS = 3
"""Of MONAI's DynUNet; those that are not wanted shrink nothing."""
_FULLEST = {"cuda": 1.0}
"""Up to what share of a step's work the batch grows: a GPU is fast when full, elsewhere more and
shorter steps learn more; half."""
_UPPER = 99.5
_FEW_IMAGES = 8
"""Fewer are too few for statistics over all of them."""
_SPARSE = 0.2
"""Share of object voxels below which the median is surely background."""


@dataclass(frozen=True)
class Choice:
    """A value and why.

    Attributes
    ----------
    key : str
        Of the config, dotted.
    value : object
        Plain: numbers and lists of them.
    reason : str
    """

    key: str
    value: Any
    reason: str


@dataclass(frozen=True)
class Network:
    """The network of a plan.

    Attributes
    ----------
    choices : list of Choice
        What was left to the plan.
    features, layers : int
    strides, kernels : list
        Of each level, three at least; a number for all axes, or one an axis.
    norm : str or None
        Of DynUNet's layers; None: its own default, instance norm.
    """

    choices: list[Choice]
    features: int
    layers: int
    strides: list[Any]
    kernels: list[Any]
    norm: str | None = None


def plan_network(
    found: Fingerprint,
    smallest: Sequence[int],
    settled: Mapping[str, Any],
    hardware: Hardware,
) -> Network:
    """Return features, levels, strides and kernels.

    Parameters
    ----------
    found : Fingerprint
    smallest : sequence of int
        Smallest size of all images along each axis, [Z,] Y, X.
    settled : mapping
        Keys that are not left to the plan; of the patch a number or None for each axis.
    hardware : Hardware

    Raises
    ------
    ConfigError
        The images or the patch are too small for `layers`.
    """
    choices = []

    def choose(key: str, value: Any, reason: str) -> Any:
        if key in settled:
            return settled[key]
        choices.append(Choice(key, value, reason))
        return value

    on_gpu = hardware.kind == "cuda"
    why = "a step with twice as many takes four times as long, and stacks on a CPU are slow"
    if on_gpu or found.dims == 2:
        why = "a GPU has room for them" if on_gpu else "planes are cheap"
    features = choose("features", 32 if on_gpu or found.dims == 2 else 16, why)
    norm = settled.get(NORM)
    if NORM not in settled and found.images >= _FEW_IMAGES:
        why = f"{found.images} images: their statistics hold for an empty window, too"
        norm = choose(NORM, "batch", why)
    finest = min(found.spacing)
    extents = found.diameter[2] if found.diameter else ()
    large = [e * s / finest for e, s in zip(extents, found.spacing, strict=False)][-2:]
    if STRIDES in settled:
        strides = settled[STRIDES]
        kernels = settled.get(KERNELS, [3] * len(strides))
        return Network(choices, features, len(strides), strides, kernels, norm)
    typed = settled.get(KERNELS)
    wanted = settled.get("layers", len(typed) if typed else choose_layers(large))
    sizes = [t or n for t, n in zip(settled[PATCH], smallest, strict=True)]
    steps, reach = choose_strides(found.spacing, sizes, wanted)
    layers = max(len(steps), LAYERS[0])
    if settled.get("layers", layers) != layers:
        raise ConfigError(
            "layers",
            f"is {wanted}, but patches of {_by(sizes)} can be halved {layers - 1} times "
            f"(4 voxels are left then); nearest: {layers}",
            "Take fewer layers, or a larger data.patch_size where images allow it.",
        )
    wide = f"large objects are {max(large):.0f} pixels wide" if large else "there are no objects"
    choose("layers", layers, f"{wide}; at the bottom a pixel covers {2 ** (layers - 1)}")
    while len(steps) < _LEAST_LEVELS:
        steps.append([1] * found.dims)
        reach.append(reach[-1])
    strides, kernels = shortened(steps), shortened(reach)
    known = f"voxels are {found.anisotropy:.2g} times as long as wide"
    known = known if found.spacing_um else "the voxel size is unknown, taken as cubes"
    even = all(isinstance(one, int) for one in strides)
    how = "all axes are halved alike" if even else "a coarse axis is halved later"
    choose(STRIDES, strides, f"{known}: {how}")
    choose(RESOLUTION, list(found.spacing), f"{known}: {how}")
    flat = any(isinstance(one, list) for one in kernels)
    how = "not along an axis 3 times as coarse" if flat else "no axis is 3 times as coarse"
    kernels = choose(KERNELS, kernels, how)
    if len(kernels) != len(strides):
        raise ConfigError(
            KERNELS,
            f"has {len(kernels)} levels, the network has {len(strides)}",
            f"Give {len(strides)}, or leave it out.",
        )
    return Network(choices, features, layers, strides, kernels, norm)


def plan_training(
    found: Fingerprint,
    smallest: Sequence[int],
    settled: Mapping[str, Any],
    hardware: Hardware,
    cost: Cost,
    multiples: Sequence[int],
) -> tuple[list[int], list[Choice]]:
    """Return the patch; and patch, batch, sampling, normalisation and the scale of post-processing.

    Parameters
    ----------
    found, smallest, settled, hardware
        See `plan_network`.
    cost : Cost
        Of the network.
    multiples : sequence of int
        What a side of a patch must be a multiple of.
    """
    dims = found.dims
    batch = settled.get("data.batch_size", _LEAST_BATCH[dims])

    def has_room(patch: Sequence[int], count: int) -> bool:
        return cost.kept(patch, count, hardware.precision) <= hardware.memory

    def fits(patch: Sequence[int], count: int = batch, share: float = 1.0) -> bool:
        return cost.work(patch, count) <= share * hardware.macs and has_room(patch, count)

    typed = settled[PATCH]
    extents = found.diameter[2] if found.diameter else ()
    patch = choose_patch(found.spacing, smallest, extents, multiples, typed, fits)
    choices = [Choice(PATCH, patch, _why_patch(found, patch, multiples))]
    if "data.batch_size" not in settled:
        fullest = _FULLEST.get(hardware.kind, 0.5)
        while batch < _MOST_BATCH and fits(patch, batch + 1, fullest):
            batch += 1
        while batch > 1 and not has_room(patch, batch):
            batch -= 1
        kept = cost.kept(patch, batch, hardware.precision) / 2**20
        giga = cost.work(patch, batch) / 1e9
        seconds = f"{giga:.0f} of {hardware.macs / 1e9:.0f} billion multiplications a step"
        reason = f"{seconds}, {kept:.0f} MB kept for the way back"
        choices.append(Choice("data.batch_size", batch, reason))
    if not has_room(patch, batch):
        smaller = choose_patch(found.spacing, smallest, extents, multiples, [None] * dims, fits)
        log.warning(
            "memory: patches of %s, %d at a time, keep about %.0f MB, there is room for %.0f; %s",
            _by(patch),
            batch,
            cost.kept(patch, batch, hardware.precision) / 2**20,
            hardware.memory / 2**20,
            f"data.patch_size={str(smaller).replace(' ', '')} has room"
            if has_room(smaller, batch)
            else "take a smaller network (model/size=small), or a machine with more",
        )
    lower = _lower(found)
    upper = _upper(found, settled.get(lower.key, lower.value))
    choices += [_foreground(found, patch), lower, upper]
    why = "mean of the training objects; prediction drops what is below 5 % of it"
    choices.append(Choice(SCALE, round(found.object_voxels, 1), why))
    return patch, [one for one in choices if one.key == PATCH or one.key not in settled]


def _why_patch(found: Fingerprint, patch: Sequence[int], multiples: Sequence[int]) -> str:
    shape = f"as much as a step carries, of images of {_by(found.shape[1])}"
    if found.spacing_um:
        sides = [round(n * s) for n, s in zip(patch, found.spacing, strict=True)]
        shape += f" ({_by(sides)} um)"
    if found.diameter:
        shape += f"; large objects take {_by(round(e) for e in found.diameter[2])}"
    return f"{shape}; multiples of {_by(multiples)}"


def _foreground(found: Fingerprint, patch: Sequence[int]) -> Choice:
    """Return the share of patches around objects: nnU-Net's third, twice it where most are empty.

    Objects are taken to lie anywhere.
    """
    share = 1.0
    for size, whole in zip(patch, found.shape[1], strict=True):
        share *= min(size / whole, 1.0)
    objects = found.objects_per_image[1] * share
    reason = f"a patch anywhere holds about {objects:.1f} objects"
    return Choice("data.foreground_fraction", 0.33 if objects >= 1 else 0.67, reason)


def _lower(found: Fingerprint) -> Choice:
    """Return the lower percentile: the median, where it is background, moves with no noise."""
    sparse = found.foreground < _SPARSE
    reason = f"objects are {found.foreground:.2%} of the voxels: "
    reason += "the median is background" if sparse else "the darkest voxels are background"
    return Choice("normalization.lower", 50.0 if sparse else 1.0, reason)


def _upper(found: Fingerprint, lower: float) -> Choice:
    """Return the upper percentile: that which brings outlines to one level in all images.

    Of few images, or above a lower one that is not compared, one that a tenth of the object voxels
    at most is above.
    """
    known = [one for one in found.outlines if one.lower == lower]
    if known and found.outlined >= _FEW_IMAGES:
        best = min(known, key=lambda one: one.spread)
        reason = (
            f"of {found.outlined} images with outlines, those lie at {best.level:.0%} of it, "
            f"give or take {best.spread:.0%}: no other percentile brings them nearer together"
        )
        return Choice("normalization.upper", best.upper, reason)
    upper = round(min(max(_UPPER, 100 - 10 * found.foreground), 99.99), 2)
    return Choice(
        "normalization.upper",
        upper,
        f"objects are {found.foreground:.2%} of the voxels; the percentile lies among them",
    )


def _by(numbers: Any) -> str:
    return " x ".join(str(number) for number in numbers)
