"""The windows that cover an image: where they start, their weights, how far they overlap."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

SIGMA = 0.125
"""Of the Gaussian that weights a window, as a share of its side (nnU-Net's and MONAI's)."""
_SEEN = 0.5
"""Share of the sensitivity of a network that lies within its radius."""


class WindowLayout:
    """Windows that cover an image evenly, blended by Gaussians.

    The weight of a voxel is a product over the axes, and so is the sum of the weights of all
    windows: three short arrays say it all, whatever the size of the image.

    Parameters
    ----------
    shape : sequence of int
        Of the image; where it is smaller than a window it is mirrored at its sides up to one.
    size : sequence of int
        Of a window.
    overlap : sequence of int
        Of neighbouring windows, in voxels, at least.
    stride : sequence of int, optional
        Of the network in all: windows start at multiples of it, for a network that halves its
        input answers otherwise to one that is shifted by a voxel. The image is mirrored at its
        end up to a multiple.
    """

    def __init__(
        self,
        shape: Sequence[int],
        size: Sequence[int],
        overlap: Sequence[int],
        stride: Sequence[int] | None = None,
    ) -> None:
        self.size = tuple(int(s) for s in size)
        stride = stride or (1,) * len(self.size)
        self.before = tuple(max(s - n, 0) // 2 for n, s in zip(shape, self.size, strict=True))
        self.shape = tuple(
            max(math.ceil(n / step) * step, s)
            for n, s, step in zip(shape, self.size, stride, strict=True)
        )
        self.starts = [
            _starts(n, s, o, step)
            for n, s, o, step in zip(self.shape, self.size, overlap, stride, strict=True)
        ]
        self.profiles = [_profile(s) for s in self.size]
        self.totals = []
        for n, size_, starts, profile in zip(
            self.shape, self.size, self.starts, self.profiles, strict=True
        ):
            total = np.zeros(n, np.float32)
            for start in starts:
                total[start : start + size_] += profile
            self.totals.append(total)

    def weight(self) -> np.ndarray:
        """Return the weights of a window, float32."""
        return _product(self.profiles)

    def total(self, box: Sequence[slice]) -> np.ndarray:
        """Return the sum of the weights of all windows in a box, float32."""
        return _product([t[s] for t, s in zip(self.totals, box, strict=True)])

    def touching(self, axis: int, side: slice) -> list[int]:
        """Return the starts, along an axis, of the windows that reach into a range."""
        size = self.size[axis]
        return [s for s in self.starts[axis] if s < side.stop and s + size > side.start]

    def count(self) -> int:
        """Return the number of windows."""
        return math.prod(len(s) for s in self.starts)


def receptive_radius(network: nn.Module, channels: int, size: Sequence[int]) -> tuple[int, ...]:
    """Return how far the network looks, in voxels along each axis.

    The radius that holds half of the gradient of the central output by the input (the
    effective receptive field, Luo et al. 2016), on noise; at most half a window.

    Parameters
    ----------
    network : Module
        On its device, in evaluation mode.
    channels : int
    size : sequence of int
        Of a window.
    """
    device = next(network.parameters()).device
    noise = torch.randn(1, channels, *size, generator=torch.Generator().manual_seed(0))
    image = noise.to(device).requires_grad_()
    centre = tuple(s // 2 for s in size)
    with torch.enable_grad():
        output = network(image)
        output = output[0] if isinstance(output, (tuple, list)) else output
        (gradient,) = torch.autograd.grad(output[(0, 0, *centre)], image)
    strength = gradient[0].abs().sum(0).double().cpu().numpy()
    radii = []
    for axis, middle in enumerate(centre):
        along = strength.sum(axis=tuple(a for a in range(strength.ndim) if a != axis))
        distance = np.abs(np.arange(len(along)) - middle)
        held = np.bincount(distance, along).cumsum()
        radii.append(int(np.searchsorted(held, _SEEN * held[-1])) if held[-1] > 0 else 0)
    return tuple(radii)


def overlap_voxels(
    rule: float | str, size: Sequence[int], radius: Sequence[int]
) -> tuple[int, ...]:
    """Return by how many voxels neighbouring windows overlap.

    Parameters
    ----------
    rule : float or ``auto``
        A share of the window; ``auto``: twice the radius, so that every voxel lies at least so far
        from the side of some window, an eighth to half of the window.
    size : sequence of int
    radius : sequence of int
        See `receptive_radius`.
    """
    if rule == "auto":
        return tuple(min(max(2 * r, s // 8), s // 2) for s, r in zip(size, radius, strict=True))
    return tuple(int(s * float(rule)) for s in size)


def _starts(length: int, size: int, overlap: int, stride: int) -> list[int]:
    """Return starts at even distances, multiples of the stride, the last window at the end."""
    room = (length - size) // stride
    steps = math.ceil(room / max((size - overlap) // stride, 1))
    return [i * room // max(steps, 1) * stride for i in range(steps + 1)]


def _profile(size: int) -> np.ndarray:
    centre = (size - 1) / 2
    return np.exp(-0.5 * ((np.arange(size) - centre) / (SIGMA * size)) ** 2).astype(np.float32)


def _product(profiles: Sequence[np.ndarray]) -> np.ndarray:
    product = profiles[0]
    for profile in profiles[1:]:
        product = product[..., None] * profile
    return product
