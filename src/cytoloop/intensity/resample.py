"""Images at another voxel size, read box by box: every box has the voxels of the whole."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from cytoloop.io.pixels import Pixels
from cytoloop.io.voxel_size import Spacing

_TRUNCATE = 3.0


class ResampledPixels(Pixels):
    """An image on a grid of another size.

    Linear interpolation between voxel centres; an axis that shrinks is smoothed before, so that
    nothing is skipped (sigma = sqrt(factor^2 - 1) / 2 voxels, half of what one output voxel spans).

    Parameters
    ----------
    pixels : Pixels
    shape : sequence of int
        Of the new grid; it spans the same space.
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
            known = pixels.spacing_um
            self.spacing_um = (known[0] * z, known[1] * y, known[2] * x)

    def read(self, box: tuple[slice, ...]) -> np.ndarray:
        """Return a box, (C, *box) float32."""
        window, places = [], []
        for side, factor, sigma, length in zip(
            box, self._factors, self._sigma, self._pixels.shape, strict=True
        ):
            centre = (np.arange(side.start, side.stop) + 0.5) * factor - 0.5
            centre = np.clip(centre, 0, length - 1)
            halo = math.ceil(_TRUNCATE * sigma) + 1
            low = max(int(centre[0]) - halo, 0)
            high = min(int(centre[-1]) + 2 + halo, length)
            window.append(slice(low, high))
            places.append(centre - low)
        data = self._pixels.read(tuple(window)).astype(np.float32)
        if any(self._sigma):
            data = ndimage.gaussian_filter(data, [0, *self._sigma], truncate=_TRUNCATE)
        for axis, place in enumerate(places, 1):
            lower = np.minimum(place.astype(int), data.shape[axis] - 1)
            upper = np.minimum(lower + 1, data.shape[axis] - 1)
            spread = [1] * data.ndim
            spread[axis] = -1
            share = (place - lower).astype(np.float32).reshape(spread)
            data = data.take(lower, axis) * (1 - share) + data.take(upper, axis) * share
        return data


def resampled_shape(
    shape: Sequence[int], spacing_um: Sequence[float], wanted_um: Sequence[float]
) -> tuple[int, ...]:
    """Return the size of the grid on which an image has another voxel size, about.

    Parameters
    ----------
    shape : sequence of int
    spacing_um, wanted_um : sequence of float
        (Z, Y, X).
    """
    ndim = len(shape)
    sides = zip(shape, spacing_um[-ndim:], wanted_um[-ndim:], strict=True)
    return tuple(max(round(n * have / want), 1) for n, have, want in sides)
