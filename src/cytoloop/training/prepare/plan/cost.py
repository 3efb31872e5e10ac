"""What a training step costs: multiplications and memory, counted on a network without either.

The network is laid out on tensors that have a shape and no numbers, and shown one image there, and
back: whatever its architecture, torch tells what each layer multiplies and keeps.
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
"""Of a number that is kept; else 4."""


@dataclass(frozen=True)
class Cost:
    """What each voxel of a batch costs in a training step.

    Attributes
    ----------
    macs : float
        Multiplications and additions, forward and backward.
    values : float
        Numbers that are kept for the backward pass.
    """

    macs: float
    values: float

    def work(self, patch: Sequence[float], batch: int) -> float:
        """Return the multiplications and additions of a step."""
        return self.macs * batch * math.prod(patch)

    def kept(self, patch: Sequence[float], batch: int, precision: str) -> float:
        """Return the bytes that a step keeps; the precision is Lightning's."""
        return self.values * batch * math.prod(patch) * _BYTES.get(precision, 4)


def step_cost(backbone: Mapping[str, Any], multiples: Sequence[int]) -> Cost | None:
    """Return what a step of a network costs.

    Parameters
    ----------
    backbone : mapping
        ``_target_`` and arguments of a network of MONAI.
    multiples : sequence of int
        What each side of an image must be a multiple of, [Z,] Y, X.

    Returns
    -------
    Cost or None
        None where it cannot be laid out, or takes no image with sides of about 128.
    """
    network = build_meta_network(backbone)
    if network is None:
        return None
    network = network.train().to("meta")
    weights = {id(weight) for weight in network.parameters()}
    kept: dict[int, Tensor] = {}  # held until they are counted: an id is of one tensor only

    def note(tensor: Tensor) -> Tensor:
        kept.setdefault(id(tensor.untyped_storage()), tensor)
        return tensor

    # twice a multiple at least: a layer that normalises wants more than one voxel
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
    macs = counter.get_total_flops() / 2  # one of each is an operation
    return Cost(macs / math.prod(sides), values / math.prod(sides))
