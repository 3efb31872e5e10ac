"""Heads: the loss and the activation of one output channel of the network.

A head has no weights of its own (like CytoDL's segmentation heads). The keys of a checkpoint are
therefore ``backbone.*``, as in CytoDL.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from cytoloop.bounds import Bounds
from cytoloop.model.gathered_loss import weighted_loss


class Head(nn.Module):
    """One output channel of the network, a number in [0, 1] for each voxel.

    Parameters
    ----------
    loss : Module
        Called with (logits, target, weight), or any loss of (logits, target), see
        `cytoloop.model.gathered_loss`.
    loss_weight : float
        Weight of this head's loss in the sum over all heads, 0 or more.
    """

    BOUNDS: ClassVar[tuple[Bounds, ...]] = (Bounds("loss_weight", 0.0, 1000.0, whole=False),)

    def __init__(self, loss: Any, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss = weighted_loss(loss)
        self.loss_weight = loss_weight

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, 1, [Z,] Y, X): this head's channel of the network's output."""
        return features

    def probability(self, logits: Tensor) -> Tensor:
        """Return the sigmoid of logits: values in [0, 1], float32, same shape."""
        return logits.float().sigmoid()
