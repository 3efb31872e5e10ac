"""Losses of MONAI, torch and the user: excluded voxels do not count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import monai.losses
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cytoloop.model import losses
from cytoloop.model.gathered_loss import GatheredLoss, takes_weight, weighted_loss
from cytoloop.model.heads import Head


def squared_error(logits: Tensor, target: Tensor) -> Tensor:
    return ((logits.sigmoid() - target) ** 2).mean()


ALLOWED: dict[str, Callable[[], Any]] = {
    "DiceLoss": lambda: monai.losses.DiceLoss(sigmoid=True),
    "DiceLoss squared, jaccard": lambda: monai.losses.DiceLoss(
        sigmoid=True, squared_pred=True, jaccard=True
    ),
    "DiceLoss of the batch": lambda: monai.losses.DiceLoss(sigmoid=True, batch=True),
    "DiceLoss, sum": lambda: monai.losses.DiceLoss(sigmoid=True, reduction="sum"),
    "DiceLoss, none": lambda: monai.losses.DiceLoss(sigmoid=True, reduction="none"),
    "GeneralizedDiceLoss": lambda: monai.losses.GeneralizedDiceLoss(sigmoid=True),
    "DiceCELoss": lambda: monai.losses.DiceCELoss(sigmoid=True, lambda_ce=0.5),
    "DiceFocalLoss": lambda: monai.losses.DiceFocalLoss(sigmoid=True, gamma=1.5),
    "TverskyLoss": lambda: monai.losses.TverskyLoss(sigmoid=True, alpha=0.3, beta=0.7),
    "FocalLoss": lambda: monai.losses.FocalLoss(gamma=2.0, alpha=0.25),
    "DeepSupervisionLoss": lambda: monai.losses.DeepSupervisionLoss(
        monai.losses.DiceCELoss(sigmoid=True)
    ),
    "BCEWithLogitsLoss": nn.BCEWithLogitsLoss,
    "BCEWithLogitsLoss, weighted": lambda: nn.BCEWithLogitsLoss(pos_weight=torch.tensor([3.0])),
    "MSELoss": nn.MSELoss,
    "SmoothL1Loss": nn.SmoothL1Loss,
    "function": lambda: squared_error,
}
NEIGHBOURS: dict[str, Callable[[], Any]] = {
    "HausdorffDTLoss": lambda: monai.losses.HausdorffDTLoss(sigmoid=True),
    "SSIMLoss": lambda: monai.losses.SSIMLoss(spatial_dims=2),
    "SoftclDiceLoss": monai.losses.SoftclDiceLoss,
    "SoftDiceclDiceLoss": monai.losses.SoftDiceclDiceLoss,
    "LocalNormalizedCrossCorrelationLoss": lambda: monai.losses.LocalNormalizedCrossCorrelationLoss(
        spatial_dims=2
    ),
    "function": lambda: lambda a, b: squared_error(a, b) + a.sigmoid().diff(dim=-1).abs().mean(),
}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", ALLOWED)
def test_loss_of_single_voxels_is_recognized(name: str, dims: int) -> None:
    assert not GatheredLoss(ALLOWED[name]()).needs_neighbours(dims)


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_loss_that_needs_neighbours_is_recognized(name: str) -> None:
    assert GatheredLoss(NEIGHBOURS[name]()).needs_neighbours(2)


@pytest.mark.parametrize("name", ALLOWED)
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    fraction=st.sampled_from([0.05, 0.5, 0.95]),
    shape=st.sampled_from([(1, 1, 6, 7), (2, 1, 5, 6), (3, 1, 3, 4, 5)]),
    value=st.sampled_from([0.0, 1e30, float("inf"), float("-inf"), float("nan")]),
)
def test_excluded_voxels_change_neither_value_nor_gradient(
    name: str, seed: int, fraction: float, shape: tuple[int, ...], value: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    loss = weighted_loss(ALLOWED[name]())
    logits = torch.randn(shape, generator=generator)
    target = torch.rand(shape, generator=generator).round()
    weight = (torch.rand((shape[0], 1, *shape[2:]), generator=generator) > fraction).float()
    weight.view(-1)[0] = 0  # a voxel of the first sample is excluded

    def run(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        logits = logits.clone().requires_grad_()
        found = loss(logits, target, weight)
        return found.detach(), torch.autograd.grad(found, logits)[0]

    expected, gradient = run(logits, target)
    excluded = weight == 0
    found, other = run(
        torch.where(excluded, value, logits), torch.where(excluded, float("nan"), target)
    )
    assert expected.ndim == 0 and torch.isfinite(expected)
    assert torch.equal(found, expected) and torch.equal(other, gradient)
    assert not gradient[excluded].any()


@pytest.mark.parametrize("name", ALLOWED)
def test_everything_excluded_is_zero_with_a_zero_gradient(name: str) -> None:
    logits = torch.full((2, 1, 4, 4), float("nan"), requires_grad=True)
    found = weighted_loss(ALLOWED[name]())(logits, torch.ones(2, 1, 4, 4), torch.zeros(2, 1, 4, 4))
    (gradient,) = torch.autograd.grad(found, logits)
    assert found == 0 and not gradient.any()


@pytest.mark.parametrize("name", ALLOWED)
def test_without_excluded_voxels_the_loss_is_that_of_its_library(name: str) -> None:
    logits, target = torch.randn(2, 1, 5, 5), torch.rand(2, 1, 5, 5).round()
    expected = ALLOWED[name]()(logits, target).mean()
    found = weighted_loss(ALLOWED[name]())(logits, target, torch.ones(2, 1, 5, 5))
    assert torch.allclose(found, expected)


def test_gathered_value_is_the_mean_over_the_samples() -> None:
    logits, target = torch.randn(2, 1, 4, 4), torch.rand(2, 1, 4, 4).round()
    weight = torch.ones(2, 1, 4, 4)
    weight[0, :, 2:] = 0
    loss = monai.losses.DiceLoss(sigmoid=True)
    parts = [loss(logits[:1, :, :2], target[:1, :, :2]), loss(logits[1:], target[1:])]
    assert torch.allclose(weighted_loss(loss)(logits, target, weight), sum(parts) / 2)
    pooled = monai.losses.DiceLoss(sigmoid=True, batch=True)
    flat = [torch.cat([one[0, :, :2].flatten(), one[1].flatten()])[None, None]
            for one in (logits, target)]  # fmt: skip
    assert torch.allclose(weighted_loss(pooled)(logits, target, weight), pooled(*flat))


def test_loss_with_neighbours_takes_what_lies_outside_the_image_as_background() -> None:
    loss = weighted_loss(monai.losses.HausdorffDTLoss(sigmoid=True))
    target = torch.zeros(1, 1, 16, 16)
    target[..., 4:9, 4:9] = 1
    logits, weight = 2 * torch.randn(1, 1, 16, 16), torch.ones(1, 1, 16, 16)
    weight[..., 12:] = 0
    values = [loss(torch.where(weight > 0, logits, v), target, weight) for v in (0.0, 50.0)]
    assert torch.isfinite(values[0]) and torch.equal(*values)


def test_weight_is_recognized_by_the_signature() -> None:
    class Third(nn.Module):
        def forward(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
            return (weight * (logits - target) ** 2).mean()

    assert takes_weight(losses.DiceCELoss()) and takes_weight(Third())
    assert not takes_weight(nn.BCEWithLogitsLoss()) and not takes_weight(monai.losses.DiceLoss())
    assert not takes_weight(monai.losses.MaskedDiceLoss())
    assert isinstance(Head(Third()).loss, Third)
    assert isinstance(Head(nn.BCEWithLogitsLoss()).loss, GatheredLoss)


def test_sum_of_losses_of_several_libraries() -> None:
    parts = {"ours": losses.DiceCELoss(), "theirs": monai.losses.FocalLoss()}
    loss = losses.SumLoss(parts, {"theirs": 2.0})
    logits, target = torch.randn(1, 1, 4, 4), torch.rand(1, 1, 4, 4).round()
    weight = torch.ones(1, 1, 4, 4)
    weight[..., 0] = 0
    logits[..., 0] = float("inf")
    assert torch.isfinite(loss(logits, target, weight))


def test_softmax_of_a_single_channel_is_named() -> None:
    assert GatheredLoss(monai.losses.DiceCELoss(softmax=True)).activation_problem()
    assert GatheredLoss(monai.losses.FocalLoss(use_softmax=True)).activation_problem()
    assert GatheredLoss(monai.losses.DiceCELoss(sigmoid=True)).activation_problem() is None
