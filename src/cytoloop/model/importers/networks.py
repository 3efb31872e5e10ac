"""Networks that are built for models of other tools: allowed classes and checks of arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cytoloop.errors import ModelError
from cytoloop.model.architecture import check_arguments, check_patch_size, network_class

NETWORKS = ("AttentionUnet", "BasicUNet", "DynUNet", "SegResNet", "UNet")
"""Classes of `monai.networks.nets` that return logits of the image's size and download nothing."""

_DEFAULT_PATCH = {2: (64, 64), 3: (16, 64, 64)}
"""Patch size by number of axes, that of CytoDL's segmentation."""
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


def default_patch_size(backbone: Mapping[str, Any]) -> list[int]:
    """Return the patch size for a model that states none: a multiple of the total strides."""
    sides = _DEFAULT_PATCH[int(backbone["spatial_dims"])]
    strides = total_strides(backbone)
    return [-(-side // stride) * stride for side, stride in zip(sides, strides, strict=True)]


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
