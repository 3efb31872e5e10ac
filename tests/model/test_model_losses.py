from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.losses import DiceLoss
from monai.losses import FocalLoss as MonaiFocalLoss
from torch.nn.functional import binary_cross_entropy_with_logits

from cytoloop.data.target_maps import distance_map
from cytoloop.model import heads, losses
from cytoloop.model.losses import (
    CenterlineDiceLoss,
    DiceCELoss,
    DistanceLoss,
    FocalLoss,
    SumLoss,
    TverskyLoss,
    gap_mask,
)

LOSSES = {
    "dice_ce": DiceCELoss(),
    "tversky": TverskyLoss(0.3, 0.7),
    "focal": FocalLoss(),
    "centerline": CenterlineDiceLoss(2),
    "distance": DistanceLoss(),
    "distance_squared": DistanceLoss(power=2.0),
    "distance_gaps": DistanceLoss(gap_weight=4.0),
    "sum": SumLoss({"a": FocalLoss(), "b": TverskyLoss()}, {"a": 0.5}),
}
VALUES = st.one_of(st.floats(-50, 50), st.sampled_from([math.inf, -math.inf, math.nan, 1e30]))


def make(seed: int = 0, dims: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (2, 1, *(4, 6, 6)[-dims:])
    logits = torch.randn(shape, generator=generator, requires_grad=True)
    target = (torch.rand(shape, generator=generator) > 0.6).float()
    weight = (torch.rand(shape, generator=generator) > 0.3).float()
    return logits, target, weight


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=20, deadline=None)
@given(logit=VALUES, label=st.sampled_from([0.0, 1.0, 255.0, math.nan]))
def test_excluded_voxels_change_neither_loss_nor_gradient(
    name: str, dims: int, logit: float, label: float
) -> None:
    logits, target, weight = make(dims=dims)
    loss = LOSSES[name](logits, target, weight)
    loss.backward()
    changed = torch.where(weight > 0, logits.detach(), logit).requires_grad_()
    other = LOSSES[name](changed, torch.where(weight > 0, target, label), weight)
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


def test_excluding_voxels_is_the_same_as_cropping_them_off() -> None:
    logits, target, _ = make()
    weight = torch.ones_like(target)
    weight[..., 3:] = 0
    inside = (logits[..., :3], target[..., :3], weight[..., :3])
    torch.testing.assert_close(DiceCELoss()(logits, target, weight), DiceCELoss()(*inside))


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_that_is_all_excluded_gives_0_and_no_gradient(name: str) -> None:
    logits, target, weight = make()
    loss = LOSSES[name](logits, target, torch.zeros_like(weight))
    loss.backward()
    assert loss == 0 and (logits.grad == 0).all()


def test_a_perfect_prediction_gives_0_and_half_precision_is_finite() -> None:
    _, target, weight = make()
    assert DiceCELoss()(target * 60 - 30, target, weight) < 1e-4
    assert torch.isfinite(DiceCELoss()((target * 2e4 - 1e4).half(), target, weight))


def test_the_losses_are_those_of_their_papers() -> None:
    logits, target, _ = make()
    ones = torch.ones_like(target)
    entropy = binary_cross_entropy_with_logits(logits, target)
    torch.testing.assert_close(FocalLoss(0.0)(logits, target, ones), entropy)
    focal = MonaiFocalLoss(gamma=2.0)(logits, target)
    torch.testing.assert_close(FocalLoss(2.0)(logits, target, ones), focal)
    p = logits.sigmoid()
    tp, fp, fn = (p * target).sum(), (p * (1 - target)).sum(), ((1 - p) * target).sum()
    index = (tp + 0.5) / (tp + 0.3 * fp + 0.7 * fn + 0.5)
    torch.testing.assert_close(TverskyLoss(0.3, 0.7)(logits, target, ones), 1 - index)
    total = 0.5 * FocalLoss()(logits, target, ones) + TverskyLoss()(logits, target, ones)
    torch.testing.assert_close(LOSSES["sum"](logits, target, ones), total)
    distance = torch.rand(target.shape) * target
    error = (p - distance).abs()
    inside, outside = error[target > 0].mean(), error[target == 0].mean()
    expected = 0.7 * inside + 0.3 * outside
    found = DistanceLoss()(logits, distance, ones)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def touching(dims: int, gap: int) -> tuple[np.ndarray, torch.Tensor]:
    """Return two boxes side by side along X, cut by the border of the patch, and their distances.

    ``gap`` is the number of background voxels between the boxes.
    """
    labels = np.zeros((9, 13, 30)[-dims:], np.uint16)
    labels[(slice(0, 9),) * (dims - 1) + (slice(3, 15),)] = 1
    labels[(slice(0, 9),) * (dims - 1) + (slice(15 + gap, 27),)] = 2
    return labels, torch.from_numpy(distance_map(labels) / 255).float()[None, None]


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("radius", [1, 2])
def test_gaps_are_between_objects_and_nowhere_else(dims: int, radius: int) -> None:
    labels, distance = touching(dims, 0)
    found = gap_mask(distance, radius)[0, 0].numpy()
    assert found[..., 4, 15 - radius : 15 + radius].all()  # on both sides of the border
    found[..., 15 - radius : 15 + radius] = False
    assert not found.any()  # not towards background, not at the border of the patch
    _, distance = touching(dims, 1)
    assert gap_mask(distance, radius)[0, 0].numpy()[..., 4, 15].all()  # a narrow gap as well
    _, distance = touching(dims, 2 * radius + 1)
    assert not gap_mask(distance, radius).any()
    slope = torch.linspace(0, 1, distance.shape[-1]).expand(distance.shape)
    assert not gap_mask(slope, radius).any()  # a slope is not a gap
    alone = np.where(labels == 1, labels, 0)
    assert not gap_mask(torch.from_numpy(distance_map(alone) / 255)[None, None], radius).any()


@pytest.mark.parametrize("dims", [2, 3])
def test_voxels_in_gaps_have_the_gap_weight(dims: int) -> None:
    _, distance = touching(dims, 1)
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(distance.shape, generator=generator)
    gaps, weight = gap_mask(distance, 2), torch.ones_like(distance)
    assert (gaps & (distance == 0)).any() and (gaps & (distance > 0)).any()
    found = DistanceLoss(gap_weight=4.0, gap_radius=2)(logits, distance, weight)
    weight[gaps] = 4
    torch.testing.assert_close(found, DistanceLoss()(logits, distance, weight))
    assert not torch.isclose(found, DistanceLoss()(logits, distance, torch.ones_like(distance)))


@pytest.mark.parametrize("dims", [2, 3])
def test_centerline_dice_penalises_breaks_more_than_thin_lines(dims: int) -> None:
    target = torch.zeros(1, 1, *(12, 20, 40)[-dims:])
    line = (
        (..., slice(9, 12), slice(2, 38))
        if dims == 2
        else (..., slice(4, 7), slice(9, 12), slice(2, 38))
    )
    target[line] = 1
    cut, thin = target.clone(), target.clone()
    cut[..., 18:22] = 0  # the line is broken
    thin[..., 9, :] = 0  # the line is thinner but unbroken
    ones, loss = torch.ones_like(target), CenterlineDiceLoss(3)
    broken, whole = (loss(60 * one - 30, target, ones) for one in (cut, thin))
    assert loss(60 * target - 30, target, ones) < 0.01
    assert broken > 0.03 and broken > 2 * whole
    assert TverskyLoss()(60 * cut - 30, target, ones) < TverskyLoss()(60 * thin - 30, target, ones)


@pytest.mark.parametrize("loss", [DiceCELoss(), TverskyLoss(), FocalLoss(), DistanceLoss()])
def test_a_voxel_of_weight_2_counts_as_two_voxels(loss: torch.nn.Module) -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(1, 1, 6, 8), (torch.rand(1, 1, 6, 8) > 0.5).float()
    weight = torch.ones_like(target)
    weight[..., 2:5] = 2
    weight[..., 5] = 3
    times = [1, 1, 2, 2, 2, 3, 1, 1]
    twice = [one.repeat_interleave(torch.tensor(times), -1) for one in (logits, target)]
    torch.testing.assert_close(
        loss(logits, target, weight), loss(*twice, torch.ones_like(twice[0]))
    )


CLASSES = [one for one in vars(losses).values() if inspect.isclass(one) and hasattr(one, "BOUNDS")]


@pytest.mark.parametrize("part", [*CLASSES, heads.Head])
def test_every_number_of_a_config_has_bounds(part: type) -> None:
    parameters = inspect.signature(part).parameters
    numbers = {n: p for n, p in parameters.items() if p.annotation in ("int", "float")}
    bounds = {bound.key: bound for bound in part.BOUNDS}  # type: ignore[attr-defined]
    if part is SumLoss:
        assert bounds.keys() == {"loss_weights"}  # of each of its values
        return
    assert bounds.keys() == numbers.keys()
    for name, parameter in numbers.items():
        bound = bounds[name]
        assert bound.low <= parameter.default <= bound.high
        assert bound.whole == (parameter.annotation == "int")


def test_every_loss_has_bounds() -> None:
    own = [
        one for one in vars(losses).values() if getattr(one, "__module__", "") == losses.__name__
    ]
    assert [one for one in own if inspect.isclass(one)] == CLASSES
