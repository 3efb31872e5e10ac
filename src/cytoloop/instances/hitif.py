"""The watershed of nci-hitif's FPN2-WS: seeds inside objects grow on the contour map.

Thresholds and closing are those of the original (Gudla et al., NCI High-Throughput Imaging
Facility). Three things differ from the original: seeds are thresholded on the distance map instead
of the contour map, objects grow within the foreground only, and both size limits are applied.
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

MAX_VOXELS = 2**28
"""This watershed runs on the whole image at once: larger images are refused."""


def hitif_watershed(
    probability: Any,
    distance: Any,
    contour: Any,
    settings: InstanceSettings,
    spacing: Sequence[float],
) -> np.ndarray:
    """Return objects: seeds grown by a watershed on the contour map.

    Parameters
    ----------
    probability, distance, contour : Volume
        ([Z,] Y, X), 0..255 (uint8) or 0..1 (float): predicted foreground probability, distance map
        and contour map.
    settings : InstanceSettings
        Uses ``threshold``, ``smoothing``, ``seed_threshold`` and ``seed_closing``.
    spacing : sequence of float
        Relative voxel size, see `cytoloop.instances.settings.relative_spacing`.

    Returns
    -------
    ndarray of int32
        Same shape, 1..N; 0 = background.

    Raises
    ------
    ImageError
        A map is missing, or the image is too large.
    """
    if distance is None or contour is None:
        raise ImageError(
            "postprocess=hitif",
            "the model predicts no distance map and contour map",
            "Train with model=hitif, or choose another postprocess=.",
        )
    if np.prod(probability.shape) > MAX_VOXELS:
        raise ImageError(
            "postprocess=hitif",
            f"the image has shape {tuple(probability.shape)}, expected at most {MAX_VOXELS} voxels",
            "Use postprocess=tuned: it works block by block.",
        )
    whole = tuple(slice(0, n) for n in probability.shape)
    values = np.asarray(distance[whole])
    seed_mask = values > settings.seed_threshold * full_scale(values.dtype)
    if settings.seed_closing:
        footprint = disk(settings.seed_closing).astype(bool)
        planes = seed_mask.ndim - 2
        footprint = footprint.reshape((1,) * planes + footprint.shape)  # plane by plane
        pad = [(0, 0)] * planes + [(settings.seed_closing, settings.seed_closing)] * 2
        inner = tuple(slice(a, n + a) for (a, _), n in zip(pad, seed_mask.shape, strict=True))
        seed_mask = ndimage.binary_closing(np.pad(seed_mask, pad), footprint)[inner]
    seeds, _ = ndimage.label(seed_mask)  # connected through faces
    mask = foreground_mask(np.asarray(probability[whole]), settings, spacing)
    return np.asarray(watershed(np.asarray(contour[whole]), seeds * mask, mask=mask), np.int32)
