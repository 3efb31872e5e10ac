"""Heads: what a channel of the network's output means, and how it is learned.

A head has no weights of its own (like CytoDL's segmentation heads), so a checkpoint's keys are
`backbone.*` and can be exchanged with CytoDL.
"""

from __future__ import annotations

from torch import Tensor, nn


class ForegroundHead(nn.Module):
    """Probability that a voxel belongs to the structure of interest.

    Parameters
    ----------
    loss : Module
        Called with (logits, target, weight).
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, 1, [Z,] Y, X) from the network's output of the same shape."""
        return features

    def probability(self, logits: Tensor) -> Tensor:
        """Return probabilities in [0, 1], float32, same shape."""
        return logits.float().sigmoid()
