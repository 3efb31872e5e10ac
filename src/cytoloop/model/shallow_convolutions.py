"""3D convolutions of few planes on a CPU in bfloat16: their gradients by torch are wrong.

torch 2.13 (oneDNN) computes the weight gradient of a bfloat16 `Conv3d` from memory that nothing was
written to when the input has fewer planes than the kernel, and more than one: values are random,
often NaN. Every CPU with bfloat16 instructions does so, in both memory formats. Outputs and the
gradients of inputs are right.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv3d


class ShallowConv3d(nn.Conv3d):
    """A `Conv3d` that computes such inputs in 32 bits, and all others as torch does."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolution.

        Parameters
        ----------
        input : Tensor
            Axes B, C, Z, Y, X.

        Returns
        -------
        Tensor
            Axes B, C, Z, Y, X, of the type that autocast gives.
        """
        reach = self.dilation[0] * (self.kernel_size[0] - 1) + 1
        autocast = torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if autocast else input.dtype
        is_wrong = input.device.type == "cpu" and dtype == torch.bfloat16
        if not is_wrong or not 1 < input.shape[2] < reach or self.padding_mode != "zeros":
            return super().forward(input)
        weight, bias = self.weight.float(), None if self.bias is None else self.bias.float()
        geometry: Any = self.stride, self.padding, self.dilation, self.groups
        with torch.autocast("cpu", enabled=False):
            return conv3d(input.float(), weight, bias, *geometry).to(dtype)


def replace_convolutions(model: nn.Module) -> None:
    """Make each `Conv3d` of a model a `ShallowConv3d`, in place; weights and names stay.

    Parameters
    ----------
    model : Module
    """
    for layer in model.modules():
        if type(layer) is nn.Conv3d:  # a subclass computes in its own way
            layer.__class__ = ShallowConv3d
