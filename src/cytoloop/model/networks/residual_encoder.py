"""MONAI's SegResNetDS: a U-Net whose encoder has residual blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cytoloop.model.networks.planned import PlannedNetwork

TARGET = "monai.networks.nets.SegResNetDS"
_BLOCKS = (1, 2, 2, 4, 4, 4)
"""Residual blocks of each level on the way down: MONAI's numbers, the last one repeated."""


def arguments(planned: PlannedNetwork, spacing: Sequence[float]) -> dict[str, Any]:
    """Return the arguments of the class; it halves its axes by the voxel size."""
    return {
        "init_filters": planned.features,
        "blocks_down": list(_BLOCKS[: planned.layers]),
        "resolution": [float(size) for size in spacing],
    }


def values(backbone: Mapping[str, Any]) -> dict[str, Any]:
    """Return the planned values of the arguments that a checkpoint holds."""
    return {
        "features": backbone.get("init_filters"),
        "layers": len(backbone.get("blocks_down") or ()),
        "model.backbone.resolution": backbone.get("resolution"),
    }
