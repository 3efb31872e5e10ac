"""The grey-level statistics that normalisation needs, measured slab by slab."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cytoloop.errors import ImageError
from cytoloop.intensity.normalization import MAX_SAMPLE_VOXELS, IntensityStats, intensity_statistics
from cytoloop.io.pixels import Pixels, split_into_slabs

_SLAB_VOXELS = 2**23


def measure_intensity(
    name: str, pixels: Pixels, rules: Sequence[Mapping[str, Any]]
) -> list[IntensityStats] | None:
    """Return offset and scale of each channel, for each rule; None for an image of one grey level.

    The image is read once, slab by slab. Of a large image every k-th voxel is sampled.

    Parameters
    ----------
    name : str
        Of the image, for messages.
    pixels : Pixels
    rules : sequence of mapping
        See `cytoloop.intensity.normalization.intensity_statistics`.

    Raises
    ------
    ImageError
        All voxels are NaN or infinite.
    """
    step = math.prod(pixels.shape) // MAX_SAMPLE_VOXELS + 1
    samples, count = [], 0
    low = np.full(len(pixels.channels), np.inf)
    high, any_finite = -low, False
    for slab in split_into_slabs(pixels.shape, _SLAB_VOXELS):
        rest = tuple(slice(0, n) for n in pixels.shape[1:])
        flat = pixels.read((slab, *rest)).reshape(len(pixels.channels), -1)
        finite = True
        if flat.dtype.kind == "f":
            flat = np.where(np.isfinite(flat), flat, np.nan)
            finite = not np.isnan(flat).all()
        samples.append(flat[:, -count % step :: step].copy())
        count += flat.shape[1]
        any_finite |= finite
        if not finite:
            continue
        low = np.fmin(low, np.fmin.reduce(flat, axis=1))
        high = np.fmax(high, np.fmax.reduce(flat, axis=1))
    if not any_finite:
        raise ImageError(name, "holds no number (all NaN or infinite)", "Export it again.")
    if (low == high).all():
        return None
    sample = np.concatenate(samples, axis=1)
    return [intensity_statistics(sample, rule) for rule in rules]
