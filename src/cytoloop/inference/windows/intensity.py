"""The grey-level statistics that normalisation needs, measured slab by slab."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cytoloop.intensity.normalization import IntensityStats, intensity_statistics
from cytoloop.intensity.sample import sample_grey_levels
from cytoloop.io.pixels import Pixels


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
    found = sample_grey_levels(name, pixels)
    if (found.lowest == found.highest).all():
        return None
    return [intensity_statistics(found.sample, rule) for rule in rules]
