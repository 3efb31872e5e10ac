"""Losses that ignore excluded voxels: value and gradient do not depend on them.

Call each loss with logits (B, K, [Z,] Y, X) of any float dtype, a target of the same shape (0 or 1;
0 to 1 for a distance or contour map) and a weight (B, 1, [Z,] Y, X), 0 = excluded. It returns a
scalar. If all voxels are excluded, the loss is 0 and its gradient is 0.

Each class has ``BOUNDS``: the bounds of each number in its config.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from cytoloop.bounds import Bounds
from cytoloop.model.gathered_loss import weighted_loss

_MIN_VALLEY_DEPTH = 0.01
"""Shallower valleys are ignored: maps have steps of 1/255, and outlines of objects are rough."""


def mask_excluded(logits: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return all three as float32 of one shape, 0 in excluded voxels.

    Multiplying by the weight is not enough: 0 * inf is NaN, and so is its gradient.
    """
    counted = (weight > 0).expand_as(logits)
    return (
        torch.where(counted, logits.float(), 0.0),
        torch.where(counted, target.float(), 0.0),
        torch.where(counted, weight.float(), 0.0),
    )


class DiceCELoss(nn.Module):
    """Soft Dice plus binary cross-entropy.

    The Dice term (Milletari et al. 2016, V-Net, without squares in the denominator, as in nnU-Net)
    is computed over the whole batch: a patch without foreground does not dominate it.

    Parameters
    ----------
    lambda_dice, lambda_ce : float
        Weights of the two terms.
    """

    BOUNDS: ClassVar[tuple[Bounds, ...]] = (
        Bounds("lambda_dice", 0.0, 1000.0, whole=False),
        Bounds("lambda_ce", 0.0, 1000.0, whole=False),
    )

    def __init__(self, lambda_dice: float = 1.0, lambda_ce: float = 1.0) -> None:
        super().__init__()
        self.dice = TverskyLoss()
        self.lambda_dice = lambda_dice
        self.lambda_ce = lambda_ce

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        dice = self.dice(logits, target, weight)
        logits, target, weight = mask_excluded(logits, target, weight)
        entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        entropy = (weight * entropy).sum() / weight.sum().clamp(min=1.0)
        return self.lambda_dice * dice + self.lambda_ce * entropy


class TverskyLoss(nn.Module):
    """One minus the Tversky index, computed over the whole batch (Salehi et al. 2017).

    Parameters
    ----------
    alpha, beta : float
        Weights of false positives and of false negatives. 0.5 and 0.5 give Dice; a larger beta
        finds more of thin or dim structures.
    """

    BOUNDS: ClassVar[tuple[Bounds, ...]] = (
        Bounds("alpha", 0.0, 1.0, whole=False),
        Bounds("beta", 0.0, 1.0, whole=False),
    )

    def __init__(self, alpha: float = 0.5, beta: float = 0.5) -> None:
        super().__init__()
        self.alpha = alpha
        self.beta = beta

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        logits, target, weight = mask_excluded(logits, target, weight)
        probability = weight * logits.sigmoid()
        axes = [0, *range(2, logits.ndim)]
        hits = (probability * target).sum(axes)
        errors = self.alpha * (probability.sum(axes) - hits)
        errors = errors + self.beta * ((weight * target).sum(axes) - hits)
        return (1.0 - (hits + 0.5) / (hits + errors + 0.5)).mean()


class FocalLoss(nn.Module):
    """Binary cross-entropy with more weight on voxels that are classified badly (Lin et al. 2017).

    Parameters
    ----------
    gamma : float
        Exponent of the weight |probability - target|; 0 gives cross-entropy.
    """

    BOUNDS: ClassVar[tuple[Bounds, ...]] = (Bounds("gamma", 0.0, 10.0, whole=False),)

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        logits, target, weight = mask_excluded(logits, target, weight)
        entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        error = (logits.sigmoid() - target).abs()
        return (weight * error**self.gamma * entropy).sum() / weight.sum().clamp(min=1.0)


class CenterlineDiceLoss(nn.Module):
    """One minus soft clDice: penalises breaks in thin structures (Shit et al. 2021).

    Parameters
    ----------
    iterations : int
        Erosions that make the soft skeleton: half the width of the thickest structure, in voxels.
    """

    BOUNDS: ClassVar[tuple[Bounds, ...]] = (Bounds("iterations", 1, 64),)

    def __init__(self, iterations: int = 5) -> None:
        super().__init__()
        self.iterations = iterations

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        logits, target, weight = mask_excluded(logits, target, weight)
        counted = (weight > 0).float()
        predicted = logits.sigmoid() * counted
        axes = [0, *range(2, logits.ndim)]

        def covered(skeleton: Tensor, mask: Tensor) -> Tensor:
            """Return the fraction of a skeleton that lies inside a mask."""
            return ((skeleton * mask).sum(axes) + 1.0) / (skeleton.sum(axes) + 1.0)

        precision = covered(self._skeleton(predicted) * counted, target)
        recall = covered(self._skeleton(target) * counted, predicted)
        loss = 1.0 - 2.0 * precision * recall / (precision + recall)
        return loss.mean() * counted.amax()

    def _skeleton(self, mask: Tensor) -> Tensor:
        """Return the soft skeleton: what an opening removes, summed over the erosions."""
        skeleton = torch.zeros_like(mask)
        for _ in range(self.iterations + 1):
            eroded = _erode(mask)
            removed = functional.relu(mask - _dilate(eroded))
            skeleton = skeleton + functional.relu(removed - skeleton * removed)
            mask = eroded
        return skeleton


class DistanceLoss(nn.Module):
    """Mean error of a map in [0, 1], balanced between objects and background.

    The target is the normalised distance map (0 at the border of an object and in background, 1 at
    its centre) or a blurred contour map. Most voxels are background with target 0: without the
    balance, errors inside objects hardly count.

    Parameters
    ----------
    background_weight : float
        Weight of the mean error in background; the mean error inside objects has the rest to 1.
    power : float
        Exponent of the error. 1: absolute error; 2: squared error.
    gap_weight : float
        Weight of voxels in the gap between two objects, as in U-Net (Ronneberger et al. 2015).
        These voxels are rare but separate objects that touch. Other voxels have weight 1.
    gap_radius : int
        Half the width of a gap, in voxels, see `gap_mask`.
    """

    BOUNDS: ClassVar[tuple[Bounds, ...]] = (
        Bounds("background_weight", 0.0, 0.99, whole=False),
        Bounds("power", 0.1, 4.0, whole=False),
        Bounds("gap_weight", 1.0, 100.0, whole=False),
        Bounds("gap_radius", 1, 16),
    )

    def __init__(
        self,
        background_weight: float = 0.3,
        power: float = 1.0,
        gap_weight: float = 1.0,
        gap_radius: int = 1,
    ) -> None:
        super().__init__()
        self.background_weight = background_weight
        self.power = power
        self.gap_weight = gap_weight
        self.gap_radius = gap_radius

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        logits, target, weight = mask_excluded(logits, target, weight)
        error = (logits.sigmoid() - target).abs() ** self.power
        if self.gap_weight != 1:
            gaps = gap_mask(target, self.gap_radius)
            weight = torch.where(gaps, self.gap_weight * weight, weight)
        inside = weight * (target > 0)
        outside = weight - inside
        inside_loss = (1 - self.background_weight) * (inside * error).sum()
        outside_loss = self.background_weight * (outside * error).sum()
        return inside_loss / inside.sum().clamp(min=1.0) + (
            outside_loss / outside.sum().clamp(min=1.0)
        )


def gap_mask(distance: Tensor, radius: int) -> Tensor:
    """Return the voxels in gaps between objects: the valleys of the distance map.

    A valley is what a grey closing fills (black top-hat). A slope is not a valley. Beyond the
    border of the patch the map is continued with its border values.

    Parameters
    ----------
    distance : Tensor
        (B, K, [Z,] Y, X), 0 to 1.
    radius : int
        Voxels on either side of the middle of a gap, 1 or more.

    Returns
    -------
    Tensor of bool
        Same shape.
    """
    closed = -_box_maximum(-_box_maximum(_pad(distance, 2 * radius), radius), radius)
    return closed - distance > _MIN_VALLEY_DEPTH


class SumLoss(nn.Module):
    """Weighted sum of losses.

    Parameters
    ----------
    losses : mapping of str to Module
        Losses of this file, or any loss of (logits, target), see `cytoloop.model.gathered_loss`.
    loss_weights : mapping of str to float, optional
        Weight of each loss in the sum; 1 if not given.
    """

    BOUNDS: ClassVar[tuple[Bounds, ...]] = (Bounds("loss_weights", 0.0, 1000.0, whole=False),)

    def __init__(
        self, losses: Mapping[str, nn.Module], loss_weights: Mapping[str, float] | None = None
    ) -> None:
        super().__init__()
        self.losses = nn.ModuleDict({name: weighted_loss(loss) for name, loss in losses.items()})
        self.loss_weights = dict(loss_weights or {})

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        parts = [
            self.loss_weights.get(name, 1.0) * loss(logits, target, weight)
            for name, loss in self.losses.items()
        ]
        return torch.stack(parts).sum()


def _erode(mask: Tensor) -> Tensor:
    """Return the minimum over each voxel and its neighbours along the axes."""
    padded = _pad(mask, 1)  # shifted views: several times as fast as pooling on a CPU
    shifted = [mask]
    for axis in range(2, mask.ndim):
        line = padded
        for other in range(2, mask.ndim):
            if other != axis:
                line = line.narrow(other, 1, mask.shape[other])
        shifted += [line.narrow(axis, start, mask.shape[axis]) for start in (0, 2)]
    return reduce(torch.minimum, shifted)


def _dilate(mask: Tensor) -> Tensor:
    """Return the maximum over each voxel and all its neighbours, diagonal ones too."""
    return _box_maximum(_pad(mask, 1), 1)


def _box_maximum(values: Tensor, radius: int) -> Tensor:
    """Return the maximum over each box of 2 radius + 1 voxels a side, without padding."""
    for axis in range(2, values.ndim):  # several times as fast as pooling on a CPU
        count = values.shape[axis] - 2 * radius
        shifted = [values.narrow(axis, start, count) for start in range(2 * radius + 1)]
        values = reduce(torch.maximum, shifted)
    return values


def _pad(values: Tensor, width: int) -> Tensor:
    """Return a map continued by ``width`` voxels on every side with its border values."""
    return functional.pad(values, [width] * 2 * (values.ndim - 2), mode="replicate")
