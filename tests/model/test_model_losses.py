from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.losses import DiceLoss
from torch.nn.functional import binary_cross_entropy_with_logits

from cytoloop.model.losses import DiceCELoss

VALUES = st.one_of(st.floats(-50, 50), st.sampled_from([math.inf, -math.inf, math.nan, 1e30]))


def make(seed: int = 0, dims: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (2, 1, *(4, 6, 6)[-dims:])
    logits = torch.randn(shape, generator=generator, requires_grad=True)
    target = (torch.rand(shape, generator=generator) > 0.6).float()
    weight = (torch.rand(shape, generator=generator) > 0.3).float()
    return logits, target, weight


@pytest.mark.parametrize("dims", [2, 3])
@given(logit=VALUES, label=st.sampled_from([0.0, 1.0, 255.0, math.nan]))
def test_excluded_voxels_change_neither_loss_nor_gradient(
    dims: int, logit: float, label: float
) -> None:
    logits, target, weight = make(dims=dims)
    loss = DiceCELoss()(logits, target, weight)
    loss.backward()
    changed = torch.where(weight > 0, logits.detach(), logit).requires_grad_()
    other = DiceCELoss()(changed, torch.where(weight > 0, target, label), weight)
    other.backward()
    assert torch.equal(loss, other)
    assert torch.equal(logits.grad, changed.grad)
    assert (changed.grad[weight == 0] == 0).all()


def test_without_exclusion_it_is_monais_dice_plus_torchs_cross_entropy() -> None:
    logits, target, _ = make()
    ones = torch.ones_like(target)
    dice = DiceLoss(sigmoid=True, batch=True, smooth_nr=1.0, smooth_dr=1.0)(logits, target)
    entropy = binary_cross_entropy_with_logits(logits, target)
    torch.testing.assert_close(DiceCELoss()(logits, target, ones), dice + entropy)
    torch.testing.assert_close(DiceCELoss(1, 0)(logits, target, ones), dice)


def test_excluding_is_the_same_as_cropping_away() -> None:
    logits, target, _ = make()
    weight = torch.ones_like(target)
    weight[..., 3:] = 0
    inside = (logits[..., :3], target[..., :3], weight[..., :3])
    torch.testing.assert_close(DiceCELoss()(logits, target, weight), DiceCELoss()(*inside))


def test_a_batch_that_is_excluded_as_a_whole_teaches_nothing() -> None:
    logits, target, weight = make()
    loss = DiceCELoss()(logits, target, torch.zeros_like(weight))
    loss.backward()
    assert loss == 0 and (logits.grad == 0).all()


def test_a_perfect_prediction_costs_nothing_and_half_precision_is_finite() -> None:
    _, target, weight = make()
    assert DiceCELoss()(target * 60 - 30, target, weight) < 1e-4
    assert torch.isfinite(DiceCELoss()((target * 2e4 - 1e4).half(), target, weight))
