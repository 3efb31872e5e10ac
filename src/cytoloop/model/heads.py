"""Heads: what a channel of the network's output means, and how it is learned.

A head has no weights of its own (like CytoDL's segmentation heads), so a checkpoint's keys are
`backbone.*` and can be exchanged with CytoDL.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from cytoloop.errors import ConfigError


class Head(nn.Module):
    """One channel of the network's output, a number in [0, 1] for each voxel.

    Parameters
    ----------
    loss : Module
        Called with (logits, target, weight).
    share : float
        Of this head's loss in the sum over all heads, 0 or more.

    Raises
    ------
    ConfigError
        A share that is none.
    """

    def __init__(self, loss: nn.Module, share: float = 1.0) -> None:
        super().__init__()
        number = isinstance(share, (int, float)) and not isinstance(share, bool)
        if not number or not 0 <= share < math.inf:
            raise ConfigError(
                "model.task_heads",
                f"a head's share is {share!r}, expected a number, 0 or more",
                "The share weighs its loss in the sum: model.task_heads.NAME.share=2.0.",
            )
        self.loss = loss
        self.share = share

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, 1, [Z,] Y, X) from this head's channel of the network's output."""
        return features

    def probability(self, logits: Tensor) -> Tensor:
        """Return values in [0, 1], float32, same shape."""
        return logits.float().sigmoid()
