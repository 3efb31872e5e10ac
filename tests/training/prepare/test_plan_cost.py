"""What a step costs, counted without memory, against networks that take one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.networks import nets

from cytoloop.training.prepare.plan.cost import step_cost

NETS = "monai.networks.nets."
KERNELS = [[1, 3, 3], [3, 3, 3], [3, 3, 3]]
STRIDES = [[1, 1, 1], [1, 2, 2], [2, 2, 2]]
CASES: dict[str, tuple[list[int], dict[str, Any]]] = {
    "DynUNet 3D": (
        [16, 32, 32],
        {
            "_target_": NETS + "DynUNet",
            "spatial_dims": 3,
            "in_channels": 1,
            "out_channels": 2,
            "kernel_size": KERNELS,
            "strides": STRIDES,
            "upsample_kernel_size": STRIDES[1:],
            "filters": [8, 16, 32],
            "res_block": True,
        },
    ),
    "SegResNetDS 3D": (
        [16, 32, 32],
        {
            "_target_": NETS + "SegResNetDS",
            "spatial_dims": 3,
            "in_channels": 1,
            "out_channels": 1,
            "init_filters": 8,
            "blocks_down": [1, 2, 2],
        },
    ),
    "FlexibleUNet 2D": (
        [128, 128],
        {
            "_target_": NETS + "FlexibleUNet",
            "spatial_dims": 2,
            "in_channels": 3,
            "out_channels": 1,
            "backbone": "resnet10",
        },
    ),
}


def built(backbone: dict[str, Any]) -> torch.nn.Module:
    arguments = {name: value for name, value in backbone.items() if name != "_target_"}
    made: torch.nn.Module = getattr(nets, backbone["_target_"].removeprefix(NETS))(**arguments)
    return made


@pytest.mark.parametrize("name", CASES)
def test_a_step_keeps_and_multiplies_what_was_counted(name: str) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    patch, backbone = CASES[name]
    cost = step_cost(backbone, [16] * len(patch))
    assert cost is not None
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    network = built(backbone)
    image = torch.randn(2, backbone["in_channels"], *patch)
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    with (
        FlopCounterMode(display=False) as counter,
        torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
    ):
        out = network(image)
        out = out[0] if isinstance(out, (list, tuple)) else out
        out.square().mean().backward()
    counted = counter.get_total_flops() / 2  # a multiplication and an addition
    assert cost.work(patch, 2) == pytest.approx(counted, rel=0.02)
    measured = sum(size for place, size in kept.items() if place not in weights)
    assert cost.kept(patch, 2, "32") == pytest.approx(measured, rel=0.25)
    assert cost.kept(patch, 2, "bf16-mixed") == cost.kept(patch, 2, "32") / 2


def test_what_cannot_be_laid_out_is_not_counted() -> None:
    wrong = {**CASES["DynUNet 3D"][1], "filters": "many"}
    other = {**CASES["DynUNet 3D"][1], "_target_": "torch.nn.Conv3d"}
    fixed = {
        "_target_": NETS + "UNETR",
        "in_channels": 1,
        "out_channels": 1,
        "img_size": [32, 32, 32],
        "hidden_size": 48,
        "mlp_dim": 48,
        "num_heads": 4,
    }
    assert [step_cost(one, [4, 4, 4]) for one in (wrong, other, fixed)] == [None] * 3
