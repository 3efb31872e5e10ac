"""The networks that are built for a model of other origin, and what an image must be for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cytoloop.errors import ModelError
from cytoloop.model.architecture import check_arguments, check_window, network_class

NETWORKS = ("AttentionUnet", "BasicUNet", "DynUNet", "SegResNet", "UNet")
"""Names of `monai.networks.nets`: image in, one logit a voxel out, nothing downloaded."""

_LAST = {  # the last layer, which is linear, and its axis of outputs
    "AttentionUnet": ("model.2.conv", 0),
    "BasicUNet": ("final_conv", 0),
    "DynUNet": ("output_block.conv.conv", 0),
    "SegResNet": ("conv_final.2.conv", 0),
    "UNet": ("model.2.conv", 1),  # transposed; with residual units it is not linear
}
_RANGES = {"spatial_dims": (2, 3), "in_channels": (1, 64), "out_channels": (1, 64)}


@dataclass(frozen=True)
class ImportedModel:
    """A model of other origin, as `cytoloop.model.checkpoint.Checkpoint` has it.

    Attributes
    ----------
    weights : dict of str to Tensor
        Keys ``backbone.*``.
    backbone, image : dict
    epoch, step : int
    told : str
        What was read and from where, for the log.
    """

    weights: dict[str, Tensor]
    backbone: dict[str, Any]
    image: dict[str, Any]
    epoch: int
    step: int
    told: str


def check_network(where: str, backbone: Mapping[str, Any]) -> dict[str, Any]:
    """Return the architecture without Hydra's own keys.

    Raises
    ------
    ModelError
        Of a class that is not in `NETWORKS`, or with arguments that are refused.
    """
    arguments = {str(key): value for key, value in backbone.items() if not str(key).startswith("_")}
    target = str(backbone.get("_target_", ""))
    kind = network_class(where, target)
    if kind.__name__ not in NETWORKS:
        raise ModelError(
            where,
            f"is a {kind.__name__}; of other origin only {', '.join(NETWORKS)} are loaded",
            "Train a model of one of these kinds.",
        )
    check_arguments(where, kind, arguments)
    problems = []
    for name, (low, high) in _RANGES.items():
        value = arguments.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            problems.append(f"{name}: {value!r}, expected a whole number from {low} to {high}")
    for name in ("strides", "blocks_down"):
        if not _are_steps(arguments.get(name, [])):
            problems.append(f"{name}: expected a list of whole numbers above 0")
    if problems:
        raise ModelError(where, problems, "Restore the file that was written with the model.")
    return {"_target_": f"monai.networks.nets.{kind.__name__}", **arguments}


def one_logit(
    where: str, backbone: dict[str, Any], weights: dict[str, Tensor], softmax: bool
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return architecture and weights of a network with one logit, that of foreground.

    The softmax of background and foreground is the sigmoid of their difference, so the last
    layer's two outputs become one: their difference. The probability stays what it was.

    Raises
    ------
    ModelError
        More classes, or two that are not background and foreground of one softmax.
    """
    count = int(backbone["out_channels"])
    if count == 1 and not softmax:
        return backbone, weights
    name = backbone["_target_"].rpartition(".")[2]
    layer, axis = _LAST[name]
    keys = [f"{layer}.weight", f"{layer}.bias"]
    if count != 2 or not softmax or any(key not in weights for key in keys):
        kind = "softmax" if softmax else "sigmoid"
        linear = "" if name != "UNet" or count != 2 else " (a UNet with residual units)"
        raise ModelError(
            where,
            f"has {count} output channels with {kind}{linear}, and CytoLoop predicts one "
            "foreground: one channel with sigmoid, or background and foreground with softmax",
            "Train it with one output channel.",
        )
    folded = dict(weights)
    for key, along in zip(keys, (axis, 0), strict=True):
        background, foreground = torch.unbind(weights[key].double(), along)
        folded[key] = (foreground - background).unsqueeze(along).to(weights[key].dtype)
    return {**backbone, "out_channels": 1}, folded


def check_patch(where: str, patch: Any, backbone: Mapping[str, Any]) -> list[int]:
    """Return the patch size, one number an axis.

    Raises
    ------
    ModelError
        It is none, too large, or no multiple of what the network halves.
    """
    dims = int(backbone["spatial_dims"])
    sides = [patch] * dims if isinstance(patch, int) else patch
    check_window(where, sides)
    if len(sides) != dims:
        raise ModelError(
            where, f"patch size {list(sides)}", f"Expected {dims} whole numbers, [Z,] Y, X."
        )
    problems = dict.fromkeys(
        f"patch size {list(sides)}: {side} is no multiple of {step}, by which the network shrinks"
        for side, step in zip(sides, shrinks(backbone), strict=True)
        if side % step
    )
    if problems:
        raise ModelError(where, problems, "Take a multiple of it.")
    return [int(side) for side in sides]


def shrinks(backbone: Mapping[str, Any]) -> list[int]:
    """Return by how much the network shrinks an image along each axis on its way down."""
    dims = int(backbone["spatial_dims"])
    if backbone["_target_"].endswith("SegResNet"):
        return [2 ** (len(backbone.get("blocks_down", (1, 2, 2, 4))) - 1)] * dims
    steps = [1] * dims
    for stride in backbone.get("strides", ()):  # BasicUNet has none, and pads
        along = list(stride) if isinstance(stride, (list, tuple)) else [stride] * dims
        steps = [n * int(k) for n, k in zip(steps, along, strict=False)]
    return steps


def _are_steps(value: Any) -> bool:
    """Tell whether a value is a list of whole numbers above 0, or of lists of them."""
    if not isinstance(value, (list, tuple)):
        return False
    flat = [n for item in value for n in (item if isinstance(item, (list, tuple)) else [item])]
    return all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in flat)


def image_of(
    backbone: Mapping[str, Any], patch: list[int], normalization: dict[str, Any], **known: Any
) -> dict[str, Any]:
    """Return what the network expects of an image; what is not known is None."""
    return {
        "spatial_dims": int(backbone["spatial_dims"]),
        "channels": int(backbone["in_channels"]),
        "channel_names": [],
        "spacing_um": None,
        "object_voxels": None,
        "patch_size": patch,
        "normalization": normalization,
        **known,
    }
