"""Heads: what a channel of the network's output means, and how it is learned.

A head has no weights of its own (like CytoDL's segmentation heads), so a checkpoint's keys are
`backbone.*` and can be exchanged with CytoDL.
"""

from __future__ import annotations

from torch import Tensor, nn


class Head(nn.Module):
    """One channel of the network's output, a number in [0, 1] for each voxel.

    Parameters
    ----------
    loss : Module
        Called with (logits, target, weight).
    loss_weight : float
        Of this head's loss in the sum over all heads, 0 or more.
    """

    def __init__(self, loss: nn.Module, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss = loss
        self.loss_weight = loss_weight

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, 1, [Z,] Y, X) from this head's channel of the network's output."""
        return features

    def probability(self, logits: Tensor) -> Tensor:
        """Return values in [0, 1], float32, same shape."""
        return logits.float().sigmoid()
