"""MONAI's DynUNet: a U-Net with strides and kernels for each level and axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cytoloop.model.networks.planned import PlannedNetwork

TARGET = "monai.networks.nets.DynUNet"
_MOST_FEATURES = {2: 512, 3: 320}  # nnU-Net's limits


def arguments(planned: PlannedNetwork, spacing: Sequence[float]) -> dict[str, Any]:
    """Return the arguments of the class; `spacing` has one number for each axis."""
    strides = list(planned.strides)
    return {
        "strides": strides,
        "kernel_size": list(planned.kernels),
        "upsample_kernel_size": strides[1:],
        "filters": filters_of(planned.features, len(strides), len(spacing)),
        "dropout": 0.0,
        "res_block": True,
        **({"norm_name": planned.norm} if planned.norm else {}),
    }


def values(backbone: Mapping[str, Any]) -> dict[str, Any]:
    """Return the planned values of the arguments that a checkpoint holds."""
    filters = backbone.get("filters") or [None]
    return {
        "features": filters[0],
        "layers": len(backbone.get("filters") or ()),
        "model.backbone.strides": backbone.get("strides"),
        "model.backbone.kernel_size": backbone.get("kernel_size"),
        "model.backbone.norm_name": backbone.get("norm_name"),
    }


def filters_of(features: int, levels: int, dims: int) -> list[int]:
    """Return the features of each level: doubled each time, at most 320 in 3D and 512 in 2D."""
    most = max(_MOST_FEATURES[dims], features)
    return [min(features * 2**level, most) for level in range(levels)]
