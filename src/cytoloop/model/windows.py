"""Windows of whole images: their largest size, and the inferer that validation uses."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from monai.inferers import sliding_window_inference
from torch import Tensor

MAX_WINDOW_VOXELS = 2**20
"""Most voxels of a window that is larger than a training patch."""


def total_stride(strides: Any, ndim: int) -> tuple[int, ...] | None:
    """Return the product of a network's strides along each axis; None if they are not known.

    A network of the user may have an argument ``strides`` of another form; it is not known.

    Parameters
    ----------
    strides : sequence or None
        Stride of each level of the network: a number, or one number per axis.
    ndim : int
        2 or 3.
    """
    if not isinstance(strides, Sequence) or isinstance(strides, str) or not strides:
        return None
    total = np.ones(ndim, int)
    for stride in strides:
        total = total * np.broadcast_to(np.asarray(stride, int), ndim)
    return tuple(int(t) for t in total)


def largest_window(
    shape: Sequence[int], patch: Sequence[int], stride: Sequence[int] | None
) -> tuple[int, ...]:
    """Return the largest window of at most `MAX_WINDOW_VOXELS`; at least one patch.

    Along each axis the window is a multiple of the patch, or covers the whole image.

    Parameters
    ----------
    shape : sequence of int
        [Z,] Y, X of the image.
    patch : sequence of int
        [Z,] Y, X of a training patch.
    stride : sequence of int, optional
        Total stride of the network (`total_stride`), which an axis that covers the image is
        rounded up to. None: multiples of the patch only.
    """
    size, factor = tuple(patch), 2
    while True:
        larger = tuple(
            max(min(p * factor, math.ceil(n / s) * s), p)
            for n, p, s in zip(shape, patch, stride or patch, strict=True)
        )
        if larger == size or math.prod(larger) > MAX_WINDOW_VOXELS:
            return size
        size, factor = larger, factor + 1


class WholeImageInferer:
    """Run a network over whole images, in the windows that `cytoloop predict` uses.

    Parameters
    ----------
    patch_size : sequence of int
        [Z,] Y, X of a training patch.
    strides : sequence, optional
        Strides of the network's levels, see `total_stride`.
    overlap : float
        Overlap of neighbouring windows as a fraction of the window, [0, 1).
    """

    def __init__(
        self, patch_size: Sequence[int], strides: Any = None, overlap: float = 0.25
    ) -> None:
        self.patch_size = tuple(int(n) for n in patch_size)
        self.stride = total_stride(strides, len(self.patch_size))
        self.overlap = overlap

    def __call__(
        self, image: Tensor, network: Callable[[Tensor], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Return the network's output for an image (B, C, [Z,] Y, X), of the same size."""
        window = largest_window(image.shape[2:], self.patch_size, self.stride)
        predictor: Any = network  # MONAI accepts dictionaries of tensors, but its types do not
        output: Any = sliding_window_inference(
            image, window, 1, predictor, overlap=self.overlap, mode="gaussian"
        )
        return dict(output)
