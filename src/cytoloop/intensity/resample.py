"""Resample images to another voxel size or by a factor, box by box.

A box holds the same values as the same part of the whole resampled image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from cytoloop.io.pixels import Pixels
from cytoloop.io.voxel_size import Spacing

_TRUNCATE = 3.0
"""Radius of the Gaussian filter in sigma."""


class ResampledPixels(Pixels):
    """An image resampled to another shape.

    Linear interpolation between voxel centres. An axis that shrinks by a factor is smoothed first
    against aliasing, with sigma = sqrt(factor^2 - 1) / 2 voxels.

    Parameters
    ----------
    pixels : Pixels
    shape : sequence of int
        New shape ([Z,] Y, X) of the same field of view.
    """

    def __init__(self, pixels: Pixels, shape: Sequence[int]) -> None:
        self._pixels = pixels
        self.shape = tuple(int(n) for n in shape)
        self.channels = pixels.channels
        self.dtype = np.dtype(np.float32)
        self._factors = [old / new for old, new in zip(pixels.shape, self.shape, strict=True)]
        self._sigma = [math.sqrt(f * f - 1) / 2 if f > 1 else 0.0 for f in self._factors]
        self.spacing_um: Spacing | None = None
        if pixels.spacing_um is not None:
            z, y, x = ([1.0] * (3 - len(self._factors))) + self._factors
            old_z, old_y, old_x = pixels.spacing_um
            self.spacing_um = (old_z * z, old_y * y, old_x * x)

    def read(self, box: tuple[slice, ...]) -> np.ndarray:
        """Return the pixels of a box, (C, *box) float32."""
        window, positions = [], []
        for side, factor, sigma, length in zip(
            box, self._factors, self._sigma, self._pixels.shape, strict=True
        ):
            centre = (np.arange(side.start, side.stop) + 0.5) * factor - 0.5
            centre = np.clip(centre, 0, length - 1)
            halo = math.ceil(_TRUNCATE * sigma) + 1
            low = max(int(centre[0]) - halo, 0)
            high = min(int(centre[-1]) + 2 + halo, length)
            window.append(slice(low, high))
            positions.append(centre - low)
        data = self._pixels.read(tuple(window)).astype(np.float32)
        if any(self._sigma):
            data = ndimage.gaussian_filter(data, [0, *self._sigma], truncate=_TRUNCATE)
        for axis, position in enumerate(positions, 1):
            lower = np.minimum(position.astype(int), data.shape[axis] - 1)
            upper = np.minimum(lower + 1, data.shape[axis] - 1)
            along_axis = [1] * data.ndim
            along_axis[axis] = -1
            weight = (position - lower).astype(np.float32).reshape(along_axis)
            data = data.take(lower, axis) * (1 - weight) + data.take(upper, axis) * weight
        return data


class ZoomedPixels(Pixels):
    """An image zoomed by factors: each voxel is the mean of the voxels that its area covers.

    The same as MONAI's ``Zoom`` with ``mode="area"`` and ``keep_size=False``, which CytoDL's
    experiments use.

    Parameters
    ----------
    pixels : Pixels
    zoom : sequence of float
        New size divided by the old one along ([Z,] Y, X).
    """

    def __init__(self, pixels: Pixels, zoom: Sequence[float]) -> None:
        self._pixels = pixels
        sides = zip(pixels.shape, zoom, strict=True)
        self.shape = tuple(max(math.floor(n * float(factor)), 1) for n, factor in sides)
        self.channels = pixels.channels
        self.dtype = np.dtype(np.float32)
        self.spacing_um = None

    def read(self, box: tuple[slice, ...]) -> np.ndarray:
        """Return the pixels of a box, (C, *box) float32."""
        window, areas = [], []
        for side, new, old in zip(box, self.shape, self._pixels.shape, strict=True):
            index = np.arange(side.start, side.stop)
            first, last = index * old // new, -((index + 1) * old // -new)
            window.append(slice(int(first[0]), int(last[-1])))
            areas.append((first - first[0], last - first[0]))
        data = self._pixels.read(tuple(window)).astype(np.float64)
        for axis, (first, last) in enumerate(areas, 1):
            start = np.zeros_like(data.take([0], axis))
            sums = np.concatenate([start, np.cumsum(data, axis)], axis)
            along_axis = [1] * data.ndim
            along_axis[axis] = -1
            count = (last - first).reshape(along_axis)
            data = (sums.take(last, axis) - sums.take(first, axis)) / count
        return data.astype(np.float32)


def resampled_shape(
    shape: Sequence[int], spacing_um: Sequence[float], wanted_um: Sequence[float]
) -> tuple[int, ...]:
    """Return the shape that gives an image about another voxel size.

    Parameters
    ----------
    shape : sequence of int
        ([Z,] Y, X).
    spacing_um, wanted_um : sequence of float
        Present and wanted voxel size (Z, Y, X) in um.
    """
    ndim = len(shape)
    sides = zip(shape, spacing_um[-ndim:], wanted_um[-ndim:], strict=True)
    return tuple(max(round(n * have / want), 1) for n, have, want in sides)
