"""The windows that cover an image: where they start, their weights, how far they overlap."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

SIGMA = 0.125
"""Sigma of the Gaussian weights of a window, as a fraction of its side (as nnU-Net and MONAI)."""
_GRADIENT_FRACTION = 0.5
"""Fraction of the gradient that lies within the receptive radius."""

_TINY = np.float32(1e-12)
"""Smallest sum of weights along an axis; 0 in a halo at the side of the mirrored image."""


class WindowLayout:
    """Windows that cover an image evenly, blended by Gaussian weights.

    The weight of a voxel is a product over the axes, and so is the sum of the weights of all
    windows. One short array per axis therefore holds the sum for an image of any size.

    Parameters
    ----------
    shape : sequence of int
        Of the image. Where it is smaller than a window, the image is mirrored at its sides.
    size : sequence of int
        Of a window.
    overlap : sequence of int
        Minimum overlap of neighbouring windows, in voxels.
    stride : sequence of int, optional
        Total stride of the network. Windows start at its multiples: a network that halves its
        input gives other results for an image shifted by a voxel. The image is mirrored at its
        end up to a multiple.
    halo : sequence of int, optional
        Voxels at each side of a window that the network does not predict: they have no weight, and
        the image is mirrored at its sides by as many.

    Attributes
    ----------
    shape : tuple of int
        Of the mirrored image; windows have their coordinates in it.
    before : tuple of int
        Mirrored voxels in front of the image, along each axis.
    starts : list of list of int
        Starts of the windows along each axis.
    """

    def __init__(
        self,
        shape: Sequence[int],
        size: Sequence[int],
        overlap: Sequence[int],
        stride: Sequence[int] | None = None,
        halo: Sequence[int] | None = None,
    ) -> None:
        self.size = tuple(int(s) for s in size)
        stride = stride or (1,) * len(self.size)
        halo = halo or (0,) * len(self.size)
        whole = [n + 2 * margin for n, margin in zip(shape, halo, strict=True)]
        self.before = tuple(
            margin + max(s - n, 0) // 2 for n, s, margin in zip(whole, self.size, halo, strict=True)
        )
        self.shape = tuple(
            max(math.ceil(n / step) * step, s)
            for n, s, step in zip(whole, self.size, stride, strict=True)
        )
        self.starts = [
            _starts(n, s, o, step)
            for n, s, o, step in zip(self.shape, self.size, overlap, stride, strict=True)
        ]
        self._profiles = [_gaussian(s, margin) for s, margin in zip(self.size, halo, strict=True)]
        self._totals = []
        for n, side, starts, profile in zip(
            self.shape, self.size, self.starts, self._profiles, strict=True
        ):
            total = np.zeros(n, np.float32)
            for start in starts:
                total[start : start + side] += profile
            self._totals.append(np.maximum(total, _TINY))

    def weight(self) -> np.ndarray:
        """Return the weights of a window, float32."""
        return _outer_product(self._profiles)

    def total(self, box: Sequence[slice]) -> np.ndarray:
        """Return the sum of the weights of all windows in a box, float32."""
        return _outer_product([t[s] for t, s in zip(self._totals, box, strict=True)])

    def touching(self, axis: int, side: slice) -> list[int]:
        """Return the starts, along an axis, of the windows that reach into a range."""
        size = self.size[axis]
        return [s for s in self.starts[axis] if s < side.stop and s + size > side.start]

    def count(self) -> int:
        """Return the number of windows."""
        return math.prod(len(s) for s in self.starts)


def receptive_radius(network: nn.Module, channels: int, size: Sequence[int]) -> tuple[int, ...]:
    """Return the radius of the effective receptive field, in voxels along each axis.

    It holds half of the gradient of the central output with respect to the input (Luo et al.
    2016), measured on noise; at most half a window.

    Parameters
    ----------
    network : Module
        On its device, in evaluation mode.
    channels : int
    size : sequence of int
        Of a window.

    Returns
    -------
    tuple of int
        A quarter of the window for a network without gradients (ONNX).
    """
    weight = next(network.parameters(), None)
    if weight is None:
        return tuple(s // 4 for s in size)
    device = weight.device
    noise = torch.randn(1, channels, *size, generator=torch.Generator().manual_seed(0))
    image = noise.to(device).requires_grad_()
    centre = tuple(s // 2 for s in size)
    with torch.enable_grad():
        output = network(image)
        output = output[0] if isinstance(output, (tuple, list)) else output
        if not output.requires_grad:  # a graph that was frozen
            return tuple(s // 4 for s in size)
        (gradient,) = torch.autograd.grad(output[(0, 0, *centre)], image)
    strength = gradient[0].abs().sum(0).double().cpu().numpy()
    radii = []
    for axis, middle in enumerate(centre):
        along = strength.sum(axis=tuple(a for a in range(strength.ndim) if a != axis))
        distance = np.abs(np.arange(len(along)) - middle)
        within = np.bincount(distance, along).cumsum()
        limit = _GRADIENT_FRACTION * within[-1]
        radii.append(int(np.searchsorted(within, limit)) if within[-1] > 0 else 0)
    return tuple(radii)


def overlap_voxels(
    overlap: float | str,
    size: Sequence[int],
    radius: Sequence[int],
    halo: Sequence[int] | None = None,
) -> tuple[int, ...]:
    """Return the overlap of neighbouring windows in voxels.

    Parameters
    ----------
    overlap : float or ``auto``
        Fraction of the window. ``auto``: twice the receptive radius, within 1/8 to 1/2 of the
        window; every voxel is then a radius away from the side of some window.
    size : sequence of int
        Of a window.
    radius : sequence of int
        See `receptive_radius`.
    halo : sequence of int, optional
        Windows overlap at least by two halos, so that they cover the image without them.
    """
    least = [2 * margin for margin in halo or (0,) * len(size)]
    if overlap == "auto":
        wanted = [min(max(2 * r, s // 8), s // 2) for s, r in zip(size, radius, strict=True)]
    else:
        wanted = [int(s * float(overlap)) for s in size]
    return tuple(map(max, wanted, least))


def _starts(length: int, size: int, overlap: int, stride: int) -> list[int]:
    """Return evenly spaced multiples of the stride; the last window ends at the end."""
    room = (length - size) // stride
    steps = math.ceil(room / max((size - overlap) // stride, 1))
    return [i * room // max(steps, 1) * stride for i in range(steps + 1)]


def _gaussian(size: int, halo: int) -> np.ndarray:
    """Return the weights along an axis of a window, 0 in its halo."""
    inner = size - 2 * halo
    place = (np.arange(inner) - (inner - 1) / 2) / (SIGMA * inner)
    return np.pad(np.exp(-0.5 * place**2), halo).astype(np.float32)


def _outer_product(profiles: Sequence[np.ndarray]) -> np.ndarray:
    product = profiles[0]
    for profile in profiles[1:]:
        product = product[..., None] * profile
    return product
