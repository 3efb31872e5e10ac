"""A sample of an image's grey levels, read slab by slab, for statistics of the whole image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cytoloop.errors import ImageError
from cytoloop.intensity.normalization import MAX_SAMPLE_VOXELS
from cytoloop.io.notes import note
from cytoloop.io.pixels import Pixels, split_into_slabs

_SLAB_VOXELS = 2**23
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class GreyLevels:
    """Grey levels of an image.

    Attributes
    ----------
    sample : ndarray
        (C, N), of a large image every k-th voxel. NaN: no number that float32 holds.
    lowest, highest : ndarray of float64
        (C,), finite values of all voxels.
    """

    sample: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray


def sample_grey_levels(name: str, pixels: Pixels) -> GreyLevels:
    """Return a sample of an image's grey levels, and the range of all of them.

    Parameters
    ----------
    name : str
        Of the image, for messages.
    pixels : Pixels

    Raises
    ------
    ImageError
        All voxels are NaN, infinite, or beyond float32.
    """
    step = math.prod(pixels.shape) // MAX_SAMPLE_VOXELS + 1
    samples, count, unknown = [], 0, 0
    low = np.full(len(pixels.channels), np.inf)
    high, any_finite = -low, False
    for slab in split_into_slabs(pixels.shape, _SLAB_VOXELS):
        rest = tuple(slice(0, n) for n in pixels.shape[1:])
        flat = pixels.read((slab, *rest)).reshape(len(pixels.channels), -1)
        finite = True
        if flat.dtype.kind == "f":
            is_known = np.abs(flat) <= _LARGEST  # false for NaN
            flat = np.where(is_known, flat, np.nan)
            finite = bool(is_known.any())
            unknown += is_known.size - np.count_nonzero(is_known)
        samples.append(flat[:, -count % step :: step].copy())
        count += flat.shape[1]
        any_finite |= finite
        if not finite:
            continue
        low = np.fmin(low, np.fmin.reduce(flat, axis=1))
        high = np.fmax(high, np.fmax.reduce(flat, axis=1))
    if not any_finite:
        raise ImageError(name, "holds no number (all NaN, infinite or huge)", "Export it again.")
    if unknown:
        total = count * len(pixels.channels)
        note(name, f"{unknown} of {total} values are NaN, infinite or huge, and do not count")
    return GreyLevels(np.concatenate(samples, axis=1), low, high)
