"""The cost of a training step: multiply-adds and memory, counted without doing the work.

The network runs forward and backward on the meta device, where tensors have a shape but no
numbers. torch counts the operations and the tensors that are kept, whatever the architecture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from cytoloop.model.architecture import MetaDeviceMode
from cytoloop.model.sizes import NETWORK_ERRORS, PROBE_SIDE, build_meta_network

_BYTES = {"bf16-mixed": 2, "16-mixed": 2}
"""Bytes of a number that is kept, by precision; else 4."""


@dataclass(frozen=True)
class Cost:
    """Cost of each voxel of a batch in a training step.

    Attributes
    ----------
    macs : float
        Multiply-adds, forward and backward.
    values : float
        Numbers kept for the backward pass.
    """

    macs: float
    values: float

    def work(self, patch: Sequence[float], batch: int) -> float:
        """Return the multiply-adds of a step."""
        return self.macs * batch * math.prod(patch)

    def kept(self, patch: Sequence[float], batch: int, precision: str) -> float:
        """Return the bytes that a step keeps, in a precision as Lightning names it."""
        return self.values * batch * math.prod(patch) * _BYTES.get(precision, 4)


def step_cost(backbone: Mapping[str, Any], multiples: Sequence[int]) -> Cost | None:
    """Return the cost of a step of a network.

    Parameters
    ----------
    backbone : mapping
        ``_target_`` and arguments of a MONAI network.
    multiples : sequence of int
        What each side of an image must be a multiple of, [Z,] Y, X.

    Returns
    -------
    Cost or None
        None if the network cannot be built on the meta device, or takes no image of about 128
        voxels a side.
    """
    network = build_meta_network(backbone)
    if network is None:
        return None
    network = network.train().to("meta")
    weights = {id(weight) for weight in network.parameters()}
    kept: dict[int, Tensor] = {}  # kept alive until they are counted, so that ids stay unique

    def note(tensor: Tensor) -> Tensor:
        kept.setdefault(id(tensor.untyped_storage()), tensor)
        return tensor

    # at least twice the multiple: a normalisation layer needs more than one voxel
    sides = [max(math.ceil(PROBE_SIDE / step), 2) * step for step in multiples]
    image = torch.empty(1, int(backbone.get("in_channels", 1)), *sides, device="meta")
    try:
        with (
            MetaDeviceMode(),
            FlopCounterMode(display=False) as counter,
            torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
        ):
            out = network(image)
            while isinstance(out, (tuple, list)):
                out = out[0]
            out.sum().backward()
    except NETWORK_ERRORS:
        return None
    values = sum(tensor.numel() for tensor in kept.values() if id(tensor) not in weights)
    macs = counter.get_total_flops() / 2  # a multiply-add is two operations
    return Cost(macs / math.prod(sides), values / math.prod(sides))
