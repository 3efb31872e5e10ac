"""What the plan's features, levels, strides and kernels are called by each network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from cytoloop.training.prepare.plan.rules import choose_filters

DYNUNET = "monai.networks.nets.DynUNet"
RESIDUAL_ENCODER = "monai.networks.nets.SegResNetDS"
PLANNED = (DYNUNET, RESIDUAL_ENCODER)
"""Networks whose arguments a plan knows; others bring their own."""
_BLOCKS = (1, 2, 2, 4, 4, 4)
"""Residual blocks of each level on the way down: MONAI's own number, and its last again."""


class Planned(Protocol):
    """What is known of a network: features of the first level, levels, and the steps of each."""

    @property
    def features(self) -> int: ...  # noqa: D102
    @property
    def layers(self) -> int: ...  # noqa: D102
    @property
    def strides(self) -> Sequence[Any]: ...  # noqa: D102
    @property
    def kernels(self) -> Sequence[Any]: ...  # noqa: D102
    @property
    def norm(self) -> str | None: ...  # noqa: D102


def network_arguments(target: str, network: Planned, spacing: Sequence[float]) -> dict[str, Any]:
    """Return the arguments that make a network of MONAI the planned one.

    Parameters
    ----------
    target : str
        Its class. Of others than `PLANNED` nothing is known: no argument.
    network : Network
    spacing : sequence of float
        [Z,] Y, X; SegResNetDS halves its axes by it.
    """
    features, layers = network.features, network.layers
    strides, kernels = network.strides, network.kernels
    if target == DYNUNET:
        return {
            "strides": list(strides),
            "kernel_size": list(kernels),
            "upsample_kernel_size": list(strides)[1:],
            "filters": choose_filters(features, len(strides), len(spacing)),
            "dropout": 0.0,
            "res_block": True,
            **({"norm_name": network.norm} if network.norm else {}),
        }
    if target == RESIDUAL_ENCODER:
        return {
            "init_filters": features,
            "blocks_down": list(_BLOCKS[:layers]),
            "resolution": [float(s) for s in spacing],
        }
    return {}


def planned_unet(network: Planned, spacing: Sequence[float]) -> dict[str, Any]:
    """Return the class and the arguments of a DynUNet of the plan, for one channel."""
    arguments = network_arguments(DYNUNET, network, spacing)
    sizes = {"spatial_dims": len(spacing), "in_channels": 1, "out_channels": 1}
    return {"_target_": DYNUNET, **sizes, **arguments}


def shortened(steps: Sequence[Sequence[int]]) -> list[int | list[int]]:
    """Return steps with one number where all axes have the same."""
    return [step[0] if len(set(step)) == 1 else list(step) for step in steps]
