"""Losses that are blind to excluded voxels: their value and gradient do not depend on them.

Each is called with logits (B, K, [Z,] Y, X) of any float dtype, a target of the same shape (0 or 1;
0 to 1 for depths) and a weight (B, 1, [Z,] Y, X), 0 = excluded, and returns a scalar. A weight that
is 0 everywhere gives a loss of 0 with zero gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional

_SHALLOW = 0.01
"""A depth this much below both sides is none: maps have 255 levels, and objects rough outlines."""


def mask_excluded(logits: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the three in float32 and of one shape, zero where voxels are excluded.

    ``where`` rather than a product: 0 * inf is NaN, and so would be the gradient.
    """
    counted = (weight > 0).expand_as(logits)
    return (
        torch.where(counted, logits.float(), 0.0),
        torch.where(counted, target.float(), 0.0),
        torch.where(counted, weight.float(), 0.0),
    )


class DiceCELoss(nn.Module):
    """Soft Dice plus binary cross-entropy over the voxels that count.

    The Dice term (Milletari et al. 2016, V-Net, squared denominator left out as in nnU-Net) is
    taken over the whole batch, so that a patch without foreground does not dominate.

    Parameters
    ----------
    lambda_dice, lambda_ce : float
        Weights of the two terms.
    """

    def __init__(self, lambda_dice: float = 1.0, lambda_ce: float = 1.0) -> None:
        super().__init__()
        self.dice = TverskyLoss()
        self.loss_weights = (lambda_dice, lambda_ce)

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        dice = self.dice(logits, target, weight)
        logits, target, weight = mask_excluded(logits, target, weight)
        entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        entropy = (weight * entropy).sum() / weight.sum().clamp(min=1.0)
        return self.loss_weights[0] * dice + self.loss_weights[1] * entropy


class TverskyLoss(nn.Module):
    """One minus the Tversky index over the whole batch (Salehi et al. 2017).

    Parameters
    ----------
    alpha, beta : float
        What each kind of error weighs; 0.5 and 0.5 is Dice. More for false negatives finds more
        of thin or dim structures.
    """

    def __init__(self, alpha: float = 0.5, beta: float = 0.5) -> None:
        super().__init__()
        self.alpha = alpha
        self.beta = beta

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        logits, target, weight = mask_excluded(logits, target, weight)
        probability = weight * logits.sigmoid()
        axes = [0, *range(2, logits.ndim)]
        both = (probability * target).sum(axes)
        wrong = self.alpha * (probability.sum(axes) - both)
        wrong = wrong + self.beta * ((weight * target).sum(axes) - both)
        return (1.0 - (both + 0.5) / (both + wrong + 0.5)).mean()


class FocalLoss(nn.Module):
    """Cross-entropy of the voxels that are hard to tell (Lin et al. 2017).

    Parameters
    ----------
    gamma : float
        How little voxels count that are told well; 0 is cross-entropy.
    """

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        logits, target, weight = mask_excluded(logits, target, weight)
        entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        missing = (logits.sigmoid() - target).abs()
        return (weight * missing**self.gamma * entropy).sum() / weight.sum().clamp(min=1.0)


class CenterlineDiceLoss(nn.Module):
    """One minus clDice: whether thin structures are connected (Shit et al. 2021).

    Parameters
    ----------
    iterations : int
        Steps of erosion that make a skeleton: half the width of the thickest structure, in voxels.
    """

    def __init__(self, iterations: int = 5) -> None:
        super().__init__()
        self.iterations = iterations

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        logits, target, weight = mask_excluded(logits, target, weight)
        counted = (weight > 0).float()
        found = logits.sigmoid() * counted
        axes = [0, *range(2, logits.ndim)]

        def share(line: Tensor, body: Tensor) -> Tensor:
            """How much of a line lies in a body."""
            return ((line * body).sum(axes) + 1.0) / (line.sum(axes) + 1.0)

        precision = share(self._skeleton(found) * counted, target)
        recall = share(self._skeleton(target) * counted, found)
        loss = 1.0 - 2.0 * precision * recall / (precision + recall)
        return loss.mean() * counted.amax()

    def _skeleton(self, body: Tensor) -> Tensor:
        """Return a soft skeleton: what opening takes away at each step of erosion."""
        line = functional.relu(body - _dilated(_eroded(body)))
        for _ in range(self.iterations):
            body = _eroded(body)
            rest = functional.relu(body - _dilated(_eroded(body)))
            line = line + functional.relu(rest - line * rest)
        return line


class DistanceLoss(nn.Module):
    """Mean error of a map in [0, 1], in objects as much as elsewhere.

    Most voxels are background, where the map is 0: without a balance the error inside objects
    would hardly count.

    Parameters
    ----------
    background_weight : float
        Share of the error in the background, [0, 1).
    power : float
        1: absolute error; 2: squared error.
    gap_weight : float
        What a voxel between objects counts, where another one counts 1, as in U-Net (Ronneberger et
        al. 2015): few voxels, on which it hangs whether objects that touch are parted.
    gap_radius : int
        Half the width of what is between, in voxels, 1 or more.
    """

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
            weight = torch.where(
                gap_mask(target, self.gap_radius), self.gap_weight * weight, weight
            )
        inside = weight * (target > 0)
        outside = weight - inside
        return (1 - self.background_weight) * (inside * error).sum() / inside.sum().clamp(
            min=1.0
        ) + (self.background_weight * (outside * error).sum() / outside.sum().clamp(min=1.0))


def gap_mask(depth: Tensor, gap_radius: int) -> Tensor:
    """Return where depths are lower than on both sides: between objects that touch, or nearly.

    What a grey closing fills; a slope, however steep, is none, and what lies beyond the borders of
    the patch goes on as it is there.

    Parameters
    ----------
    depth : Tensor
        (B, K, [Z,] Y, X), 0 to 1.
    gap_radius : int
        Voxels to either side.

    Returns
    -------
    Tensor of bool
        Same shape.
    """
    closed = -_greatest(-_greatest(_widened(depth, 2 * gap_radius), gap_radius), gap_radius)
    return closed - depth > _SHALLOW


class SumLoss(nn.Module):
    """Several losses added up.

    Parameters
    ----------
    losses : mapping of str to Module
    loss_weights : mapping of str to float, optional
        Of each in the sum; 1 where none is given.
    """

    def __init__(
        self, losses: Mapping[str, nn.Module], loss_weights: Mapping[str, float] | None = None
    ) -> None:
        super().__init__()
        self.losses = nn.ModuleDict(dict(losses))
        self.loss_weights = dict(loss_weights or {})

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        parts = [
            self.loss_weights.get(name, 1.0) * loss(logits, target, weight)
            for name, loss in self.losses.items()
        ]
        return torch.stack(parts).sum()


def _eroded(body: Tensor) -> Tensor:
    """Return the least of each voxel's neighbours along the axes."""
    pool = functional.max_pool2d if body.ndim == 4 else functional.max_pool3d
    axes = body.ndim - 2
    found = body
    for axis in range(axes):
        size = [3 if a == axis else 1 for a in range(axes)]
        found = torch.minimum(found, -pool(-body, size, 1, [n // 2 for n in size]))
    return found


def _greatest(body: Tensor, gap_radius: int) -> Tensor:
    """Return the greatest in each box of 2 gap_radius + 1 voxels, where it lies inside."""
    for axis in range(2, body.ndim):  # several times as fast as pooling, on a CPU
        count = body.shape[axis] - 2 * gap_radius
        shifted = [body.narrow(axis, start, count) for start in range(2 * gap_radius + 1)]
        body = reduce(torch.maximum, shifted)
    return body


def _widened(body: Tensor, width: int) -> Tensor:
    """Return a map that goes on beyond its borders as it is there."""
    return functional.pad(body, [width] * 2 * (body.ndim - 2), mode="replicate")


def _dilated(body: Tensor) -> Tensor:
    """Return the greatest of each voxel's neighbours, over edges and corners too."""
    return _greatest(_widened(body, 1), 1)
