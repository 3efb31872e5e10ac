"""The watershed of nci-hitif's FPN2-WS: seeds deep inside objects grow up to their contours.

Thresholds and the closing are those of the pipeline (Gudla et al., NCI High-Throughput Imaging
Facility). Other than there, seeds come from the map of depth and not from that of contours, grow
within the foreground only, and both limits of size hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import ndimage
from skimage.morphology import disk
from skimage.segmentation import watershed

from cytoloop.errors import ImageError
from cytoloop.instances.distance_map import foreground_mask, full_scale
from cytoloop.instances.settings import InstanceSettings

MOST_VOXELS = 2**28
"""A watershed on contours is not cut into blocks: larger images are refused."""


def hitif_watershed(
    probability: Any, depth: Any, contour: Any, rule: InstanceSettings, steps: Sequence[float]
) -> np.ndarray:
    """Return objects that grew from their seeds up to their contours.

    Parameters
    ----------
    probability, depth, contour : Volume
        ([Z,] Y, X), 0..255 (uint8) or 0..1 (floats): foreground, how deep inside its object a
        voxel lies, and how near to a contour.
    rule : InstanceSettings
        Its threshold, ``seed_threshold`` and ``closing`` count.
    steps : sequence of float
        Of a voxel, see `cytoloop.instances.settings.relative_spacing`.

    Returns
    -------
    ndarray of int32
        Same shape, 1..N; 0 = background.

    Raises
    ------
    ImageError
        A map is missing, or the image is too large.
    """
    if depth is None or contour is None:
        raise ImageError(
            "postprocess=hitif",
            "the model says no depth and contour",
            "Train with model=hitif, or take another postprocess=.",
        )
    if np.prod(probability.shape) > MOST_VOXELS:
        raise ImageError(
            "postprocess=hitif",
            f"an image of {tuple(probability.shape)} is too large for it",
            "Take postprocess=tuned: it works block by block.",
        )
    whole = tuple(slice(0, n) for n in probability.shape)
    levels = np.asarray(depth[whole])
    deep = levels > rule.seed_threshold * full_scale(levels.dtype)
    if rule.seed_closing:
        footprint = disk(rule.seed_closing).astype(bool)
        footprint = footprint.reshape((1,) * (deep.ndim - 2) + footprint.shape)  # plane by plane
        pad = [(0, 0)] * (deep.ndim - 2) + [(rule.seed_closing, rule.seed_closing)] * 2
        inner = tuple(slice(a, n + a) for (a, _), n in zip(pad, deep.shape, strict=True))
        deep = ndimage.binary_closing(np.pad(deep, pad), footprint)[inner]
    seeds, _ = ndimage.label(deep)  # neighbours share a side
    mask = foreground_mask(np.asarray(probability[whole]), rule, steps)
    return np.asarray(watershed(np.asarray(contour[whole]), seeds * mask, mask=mask), np.int32)
