"""Windows of whole images: how large they may be, and the one that validation uses."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from monai.inferers import sliding_window_inference
from torch import Tensor

MAX_WINDOW_VOXELS = 2**20
"""Voxels of a window at most, where it may be larger than a training patch."""


def total_stride(strides: Any, ndim: int) -> tuple[int, ...] | None:
    """Return by how much a network shrinks its input in all along each axis.

    Parameters
    ----------
    strides : sequence or None
        Of its levels, a number or one for each axis; None: it is not known.
    ndim : int
        2 or 3.
    """
    if not strides:
        return None
    total = np.ones(ndim, int)
    for stride in strides:
        total = total * np.broadcast_to(np.asarray(stride, int), ndim)
    return tuple(int(t) for t in total)


def largest_window(
    shape: Sequence[int], patch: Sequence[int], stride: Sequence[int] | None
) -> tuple[int, ...]:
    """Return the largest window of whole patches, or as long as the image, that is not too large.

    Parameters
    ----------
    shape : sequence of int
        Of the image.
    patch : sequence of int
    stride : sequence of int, optional
        Of the network in all, see `total_stride`. None: whole patches only.
    """
    size = tuple(patch)
    for times in itertools.count(2):
        larger = tuple(
            max(min(p * times, math.ceil(n / s) * s), p)
            for n, p, s in zip(shape, patch, stride or patch, strict=True)
        )
        if larger == size or math.prod(larger) > MAX_WINDOW_VOXELS:
            return size
        size = larger
    raise AssertionError  # the count has no end


class WholeImageInferer:
    """Run a network over whole images in the windows that prediction takes too.

    Parameters
    ----------
    patch_size : sequence of int
        [Z,] Y, X of training patches.
    strides : sequence, optional
        Of the network's levels, see `total_stride`.
    overlap : float
        Of neighbouring windows, [0, 1).
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
        """Return what the network says of an image (B, C, [Z,] Y, X), of the same size."""
        window = largest_window(image.shape[2:], self.patch_size, self.stride)
        run: Any = network  # MONAI's types know of tensors only, its code of dictionaries too
        found: Any = sliding_window_inference(
            image, window, 1, run, overlap=self.overlap, mode="gaussian"
        )
        return dict(found)
