"""Networks that are built for models of other tools: allowed classes and checks of arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from cytoloop.errors import ModelError
from cytoloop.model.architecture import check_arguments, check_patch_size, network_class

NETWORKS = ("AttentionUnet", "BasicUNet", "DynUNet", "SegResNet", "UNet")
"""Classes of `monai.networks.nets` that return logits of the image's size and download nothing."""

_LAST_LAYERS = {  # name of the last linear layer, and the axis of its outputs
    "AttentionUnet": ("model.2.conv", 0),
    "BasicUNet": ("final_conv", 0),
    "DynUNet": ("output_block.conv.conv", 0),
    "SegResNet": ("conv_final.2.conv", 0),
    "UNet": ("model.2.conv", 1),  # transposed convolution; not the last with residual units
}
_RANGES = {"spatial_dims": (2, 3), "in_channels": (1, 64), "out_channels": (1, 64)}


def check_network(where: str, backbone: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checked architecture, without Hydra's keys other than ``_target_``.

    Raises
    ------
    ModelError
        The class is not in `NETWORKS`, or arguments are refused.
    """
    arguments = {str(key): value for key, value in backbone.items() if not str(key).startswith("_")}
    target = str(backbone.get("_target_", ""))
    kind = network_class(where, target)
    if kind.__name__ not in NETWORKS or not kind.__module__.startswith("monai."):
        raise ModelError(
            where,
            f"is a {kind.__name__}, expected {', '.join(NETWORKS)}",
            "Models of other tools are loaded only with these networks; train one of them.",
        )
    check_arguments(where, kind, arguments)
    problems = []
    for name, (low, high) in _RANGES.items():
        value = arguments.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            problems.append(f"{name}: {value!r}, expected a whole number from {low} to {high}")
    for name in ("strides", "blocks_down"):
        if not _is_stride_list(arguments.get(name, [])):
            problems.append(f"{name}: expected a list of whole numbers above 0")
    if problems:
        raise ModelError(where, problems, "Restore the file that was written with the model.")
    return {"_target_": f"monai.networks.nets.{kind.__name__}", **arguments}


def to_one_logit(
    where: str, backbone: dict[str, Any], weights: dict[str, Tensor], softmax: bool
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return architecture and weights of the network with one logit, for the foreground.

    The softmax of background and foreground equals the sigmoid of their difference. So the two
    outputs of the last layer are replaced by their difference, which keeps the probability.

    Parameters
    ----------
    where : str
        The model, for the error message.
    backbone : dict
    weights : dict of str to Tensor
    softmax : bool
        The outputs are the classes of a softmax.

    Raises
    ------
    ModelError
        More than two outputs, or two outputs that are not background and foreground of a softmax.
    """
    count = int(backbone["out_channels"])
    if count == 1 and not softmax:
        return backbone, weights
    name = backbone["_target_"].rpartition(".")[2]
    layer, axis = _LAST_LAYERS[name]
    keys = [f"{layer}.weight", f"{layer}.bias"]
    if count != 2 or not softmax or any(key not in weights for key in keys):
        kind = "softmax" if softmax else "sigmoid"
        residual = " (a UNet with residual units)" if name == "UNet" and count == 2 else ""
        raise ModelError(
            where,
            f"has {count} output channels with {kind}{residual}, expected one channel with "
            "sigmoid, or background and foreground with softmax",
            "Train it with one output channel.",
        )
    folded = dict(weights)
    for key, along in zip(keys, (axis, 0), strict=True):
        background, foreground = torch.unbind(weights[key].double(), along)
        folded[key] = (foreground - background).unsqueeze(along).to(weights[key].dtype)
    return {**backbone, "out_channels": 1}, folded


def parse_patch_size(where: str, patch: Any, backbone: Mapping[str, Any]) -> list[int]:
    """Return the patch size [Z,] Y, X; a single number applies to all axes.

    Raises
    ------
    ModelError
        Not a patch size, too large, or not a multiple of the network's strides.
    """
    dims = int(backbone["spatial_dims"])
    sides = [patch] * dims if isinstance(patch, int) else patch
    check_patch_size(where, sides)
    if len(sides) != dims:
        raise ModelError(
            where, f"patch size {list(sides)}", f"Expected {dims} whole numbers, [Z,] Y, X."
        )
    problems = dict.fromkeys(
        f"patch size {list(sides)}: {side} is not a multiple of the network's total stride {stride}"
        for side, stride in zip(sides, total_strides(backbone), strict=True)
        if side % stride
    )
    if problems:
        raise ModelError(where, problems, "Take a multiple of the stride.")
    return [int(side) for side in sides]


def total_strides(backbone: Mapping[str, Any]) -> list[int]:
    """Return the factor by which the network downsamples an image along each axis.

    1 for BasicUNet, which pads images of any size.
    """
    dims = int(backbone["spatial_dims"])
    if backbone["_target_"].endswith("SegResNet"):
        return [2 ** (len(backbone.get("blocks_down", (1, 2, 2, 4))) - 1)] * dims
    totals = [1] * dims
    for stride in backbone.get("strides", ()):
        along = list(stride) if isinstance(stride, (list, tuple)) else [stride] * dims
        totals = [n * int(k) for n, k in zip(totals, along, strict=False)]
    return totals


def _is_stride_list(value: Any) -> bool:
    """Return whether a value is a list of whole numbers above 0, or of lists of them."""
    if not isinstance(value, (list, tuple)):
        return False
    flat = [n for item in value for n in (item if isinstance(item, (list, tuple)) else [item])]
    return all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in flat)
