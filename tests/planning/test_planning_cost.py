"""The estimates of a step, against a network that takes one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.networks.nets import DynUNet

from cytoloop.planning.cost import step_bytes, step_macs

CASES = [
    (
        [16, 32, 32],
        2,
        [8, 16, 32],
        [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
        [[1, 3, 3], *[[3, 3, 3]] * 2],
    ),
    ([64, 64], 4, [16, 32, 64, 128], [[1, 1], *[[2, 2]] * 3], [[3, 3]] * 4),
]


@pytest.fixture(params=CASES, ids=["3D", "2D"])
def step(request: pytest.FixtureRequest) -> tuple[Any, ...]:
    return request.param


def network(filters: Any, strides: Any, kernels: Any) -> DynUNet:
    return DynUNet(
        len(strides[0]), 1, 1, kernels, strides, strides[1:], filters=filters, res_block=True
    )


def test_what_is_kept_is_estimated_within_a_factor_of_two(step: tuple[Any, ...]) -> None:
    patch, batch, filters, strides, kernels = step
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    net = network(filters, strides, kernels)
    weights = {p.untyped_storage().data_ptr() for p in net.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = net(torch.randn(batch, 1, *patch)).square().mean()
    loss.backward()
    measured = sum(size for place, size in kept.items() if place not in weights)
    assert 0.5 < step_bytes(patch, batch, filters, strides, "32") / measured < 2


def test_the_work_is_counted_as_torch_counts_it(step: tuple[Any, ...]) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    patch, batch, filters, strides, kernels = step
    with FlopCounterMode(display=False) as counter:
        net = network(filters, strides, kernels)
        net(torch.randn(batch, 1, *patch)).square().mean().backward()
    counted = counter.get_total_flops() / 2  # a multiplication and an addition
    assert step_macs(patch, batch, filters, strides, kernels) == pytest.approx(counted, rel=0.02)
