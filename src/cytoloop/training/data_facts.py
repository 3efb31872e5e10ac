"""Facts of the training images for the diagnosis of a training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from omegaconf import DictConfig
from scipy import ndimage

from cytoloop.data.cached_image import CachedImage
from cytoloop.training.diagnosis import DataFacts
from cytoloop.training.prepare.config import value_of
from cytoloop.training.prepare.plan.fingerprint import fingerprint

_IMAGES = 8
"""Images whose contrast is measured: masks that do not fit are shifted in most images."""
_RING = 4
"""Width in voxels of the surroundings of objects."""
_MAX_VOXELS = 4_000_000
"""Voxels of an image that are looked at; of a larger stack, the middle planes."""


def data_facts(
    cfg: DictConfig, images: Sequence[CachedImage], with_contrast: bool = True
) -> DataFacts:
    """Return the facts of training images.

    Parameters
    ----------
    cfg : DictConfig
        Complete.
    images : sequence of CachedImage
    with_contrast : bool
        Measure the contrast, which reads some of the images.
    """
    found = fingerprint(images)
    heads = value_of(cfg, "model.image.heads") or []
    chosen = images[:: max(len(images) // _IMAGES, 1)][: _IMAGES * with_contrast]
    contrasts = [one for one in map(contrast, chosen) if one is not None]
    return DataFacts(
        path=str(cfg.data.path),
        objects=found.objects,
        foreground=found.foreground,
        patch=tuple(int(side) for side in value_of(cfg, "data.patch_size")),
        extent=found.diameter[len(found.diameter) // 2] if found.diameter else (),
        image=found.shape[1],
        contrast=float(np.median(contrasts)) if contrasts else None,
        instances=any(head != "foreground" for head in heads),
    )


def contrast(image: CachedImage) -> float | None:
    """Return how much grey levels inside objects differ from those around them.

    Parameters
    ----------
    image : CachedImage

    Returns
    -------
    float or None
        Difference of the means of objects and of a ring around them, in standard deviations of the
        ring, of the channel with the largest one. None if there are no objects or no surroundings.
    """
    labels, valid, channels = image.labels, image.valid, image.image
    if labels.ndim == 3 and labels.size > _MAX_VOXELS:
        planes = max(_MAX_VOXELS // labels[0].size, 1)
        middle = slice((len(labels) - planes) // 2, (len(labels) + planes) // 2)
        labels, valid, channels = labels[middle], valid[middle], channels[:, middle]
    inside = (np.asarray(labels) > 0) & valid
    near = ndimage.distance_transform_cdt(np.asarray(labels) == 0, "chessboard") <= _RING
    ring = near & (np.asarray(labels) == 0) & valid
    if not inside.any() or not ring.any():
        return None
    found = []
    for channel in channels:
        one, other = (np.asarray(channel)[part].astype(np.float64) for part in (inside, ring))
        spread = float(np.nanstd(other)) or 1.0
        found.append(abs(float(np.nanmean(one)) - float(np.nanmean(other))) / spread)
    return max(found)
