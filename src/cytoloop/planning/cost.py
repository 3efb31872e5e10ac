"""What a training step costs: multiplications and memory, estimated from the network's shape.

The numbers are those of MONAI's DynUNet with residual encoder blocks, counted layer by layer; the
two constants were measured (tests/planning/test_planning_cost.py measures them again).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

TENSORS_KEPT = 11
"""Feature maps of a level that the backward pass needs: of two blocks, a skip and an upsampling."""
BYTES = {"32": 4, "bf16-mixed": 2, "16-mixed": 2}
"""Of a number that is kept."""


def step_macs(
    patch: Sequence[float],
    batch: int,
    filters: Sequence[int],
    strides: Sequence[Sequence[int]],
    kernels: Sequence[Sequence[int]],
    channels: int = 1,
) -> float:
    """Return the multiplications and additions of a training step.

    Forward, and backward twice as many (with respect to inputs and weights).

    Parameters
    ----------
    patch : sequence of float
        [Z,] Y, X in voxels.
    batch : int
    filters : sequence of int
        Features of each level, finest first.
    strides, kernels : sequence of sequence of int
        Per level and axis; the first stride is 1.
    channels : int
        Of the input.
    """
    voxels = batch * math.prod(patch)
    total, before = 0.0, channels
    for number, (features, stride, kernel) in enumerate(
        zip(filters, strides, kernels, strict=True)
    ):
        voxels /= math.prod(stride)
        taps = math.prod(kernel)
        total += voxels * features * (taps * (before + features) + before)
        if number + 1 < len(filters):  # the way up: a transposed convolution, then two convolutions
            taps = math.prod(kernels[number + 1])  # MONAI's choice
            total += voxels * features * (taps * 3 * features + filters[number + 1])
        before = features
    return 3 * total


def step_bytes(
    patch: Sequence[float],
    batch: int,
    filters: Sequence[int],
    strides: Sequence[Sequence[int]],
    precision: str = "32",
) -> float:
    """Return about how many bytes a training step keeps for the backward pass.

    Parameters are as of `step_macs`; `precision` is Lightning's.
    """
    voxels = batch * math.prod(patch)
    kept = 0.0
    for features, stride in zip(filters, strides, strict=True):
        voxels /= math.prod(stride)
        kept += voxels * features * TENSORS_KEPT
    return kept * BYTES.get(precision, 4)
