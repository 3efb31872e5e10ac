"""MONAI's UNet for the classes of a softmax, with one logit for each class."""

from __future__ import annotations

from typing import Any

from monai.networks.nets import UNet
from torch import Tensor


class ClassesUNet(UNet):
    """A UNet whose first output is the background; it returns the other outputs minus the first.

    The difference is the logit of a class against the background. It is above 0 where the class is
    more probable than the background, and the largest one belongs to the most probable class.

    A UNet with residual units needs this class. In other networks the last layer is linear, so the
    difference is taken of its weights (`cytoloop.model.importers.outputs`).

    Parameters
    ----------
    spatial_dims, in_channels : int
    out_channels : int
        Number of classes K, without the background.
    **arguments
        Those of MONAI's `UNet`.
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, out_channels: int, **arguments: Any
    ) -> None:
        super().__init__(
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            out_channels=out_channels + 1,
            **arguments,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, K, [Z,] Y, X) of an image (B, C, [Z,] Y, X)."""
        outputs = super().forward(x)
        return outputs[:, 1:] - outputs[:, :1]
