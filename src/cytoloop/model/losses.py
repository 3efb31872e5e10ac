"""Losses that are blind to excluded voxels: their value and gradient do not depend on them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class DiceCELoss(nn.Module):
    """Soft Dice plus binary cross-entropy over the voxels that count.

    The Dice term (Milletari et al. 2016, V-Net, squared denominator left out as in nnU-Net) is
    taken over the whole batch, so that a patch without foreground does not dominate.

    Parameters
    ----------
    dice, cross_entropy : float
        Weights of the two terms.
    """

    def __init__(self, dice: float = 1.0, cross_entropy: float = 1.0) -> None:
        super().__init__()
        self.dice = dice
        self.cross_entropy = cross_entropy

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """Return the loss, a scalar.

        Parameters
        ----------
        logits : Tensor
            (B, K, [Z,] Y, X), any float dtype.
        target : Tensor
            Same shape, 0 or 1.
        weight : Tensor
            (B, 1, [Z,] Y, X); 0 = excluded. All zero gives a loss of 0 with zero gradient.
        """
        # where() rather than a product: 0 * inf is NaN, and so would be the gradient
        counted = (weight > 0).expand_as(logits)
        logits = torch.where(counted, logits.float(), 0.0)
        target = torch.where(counted, target.float(), 0.0)
        weight = torch.where(counted, weight.float(), 0.0)
        entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        entropy = (weight * entropy).sum() / weight.sum().clamp(min=1.0)
        probability = weight * logits.sigmoid()
        axes = [0, *range(2, logits.ndim)]
        both = (probability * target).sum(axes)
        total = probability.sum(axes) + (weight * target).sum(axes)
        dice = 1.0 - (2.0 * both + 1.0) / (total + 1.0)
        return self.dice * dice.mean() + self.cross_entropy * entropy


class DepthLoss(nn.Module):
    """Mean absolute error of a map in [0, 1], in and around objects as much as elsewhere.

    Most voxels are background, where the map is 0: without a balance the error inside objects
    would hardly count.

    Parameters
    ----------
    background : float
        Share of the error in the background, [0, 1).
    """

    def __init__(self, background: float = 0.3) -> None:
        super().__init__()
        self.background = background

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """Return the loss, a scalar.

        Parameters
        ----------
        logits : Tensor
            (B, K, [Z,] Y, X), any float dtype.
        target : Tensor
            Same shape, 0 to 1.
        weight : Tensor
            (B, 1, [Z,] Y, X); 0 = excluded. All zero gives a loss of 0 with zero gradient.
        """
        counted = (weight > 0).expand_as(logits)
        logits = torch.where(counted, logits.float(), 0.0)
        target = torch.where(counted, target.float(), 0.0)
        weight = torch.where(counted, weight.float(), 0.0)
        error = (logits.sigmoid() - target).abs()
        inside = weight * (target > 0)
        outside = weight - inside
        return (1 - self.background) * (inside * error).sum() / inside.sum().clamp(min=1.0) + (
            self.background * (outside * error).sum() / outside.sum().clamp(min=1.0)
        )
