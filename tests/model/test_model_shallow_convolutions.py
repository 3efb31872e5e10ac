"""Gradients of 3D convolutions over few planes, in bfloat16 on a CPU."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from cytoloop.model.shallow_convolutions import ShallowConv3d, replace_convolutions


@pytest.mark.parametrize("planes", [1, 2, 3, 4])
@pytest.mark.parametrize("depth", [1, 3, 5])
@pytest.mark.parametrize("mixed", [True, False])
def test_gradients_equal_those_of_32_bits(planes: int, depth: int, mixed: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Conv3d(16, 32, (depth, 3, 3), padding=(depth // 2, 1, 1)))
    values = torch.randn(2, 16, planes, 8, 8).bfloat16().float()
    expected = torch.autograd.grad(layer(values).square().sum(), [*layer.parameters()])

    replace_convolutions(layer)
    assert type(layer[0]) is ShallowConv3d
    low = layer if mixed else layer.to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16) if mixed else nullcontext():
        result = low(values if mixed else values.bfloat16())
    assert result.dtype == torch.bfloat16
    found = torch.autograd.grad(result.float().square().sum(), [*low.parameters()])
    for one, other in zip(found, expected, strict=True):
        assert float((one - other).norm() / other.norm()) < 0.02


def test_other_layers_and_names_stay() -> None:
    class Own(nn.Conv3d):
        pass

    model = nn.ModuleDict({"a": nn.Conv3d(1, 2, 3), "b": nn.Conv2d(1, 2, 3), "c": Own(1, 2, 3)})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    replace_convolutions(model)
    assert [type(layer) for layer in model.values()] == [ShallowConv3d, nn.Conv2d, Own]
    assert model.state_dict().keys() == before.keys()
    torch.testing.assert_close(dict(model.state_dict()), before)
