"""Grey levels at the outlines of objects, and how much they vary under each normalisation.

A network finds an outline by its grey level. If a percentile of the normalisation depends on the
number of objects or on a few bright ones, the level of outlines varies from image to image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LOWERS = (1.0, 50.0)
UPPERS = (99.0, 99.5, 99.8, 99.9, 99.95)
_MAX_FACES = 200_000
"""Faces that are used per image and axis; of more, every n-th."""
_MIN_LEVEL = 0.01
"""Lower levels count as this one: the logarithm of a level near 0 means nothing."""


@dataclass(frozen=True)
class Outlines:
    """Level of the outlines of objects under one normalisation.

    Attributes
    ----------
    lower, upper : float
        Percentiles that become 0 and 1.
    level : float
        Of the outlines, in these units: median over the images.
    spread : float
        Mean distance of the images' levels to `level`, relative to it. Both are means over
        channels; a channel without objects has the same spread under every percentile.
    """

    lower: float
    upper: float
    level: float
    spread: float


def outline_levels(image: np.ndarray, objects: np.ndarray, valid: np.ndarray) -> list[float]:
    """Return the grey level at the outlines of an image's objects.

    Parameters
    ----------
    image : ndarray
        (C, [Z,] Y, X), any real dtype.
    objects : ndarray of int
        ([Z,] Y, X), 0 = background.
    valid : ndarray of bool
        Same shape; False = excluded. Faces with an excluded voxel are not outlines.

    Returns
    -------
    list of float
        For each channel the median over the faces between object and background; a face has the
        mean of its two voxels. Empty without faces, or if a channel is NaN at all of them.
    """
    sides = [_faces(objects > 0, valid, axis) for axis in range(objects.ndim)]
    one, other = (np.concatenate(side) for side in zip(*sides, strict=True))
    if not len(one):
        return []
    flat = image.reshape(len(image), -1)
    means = (flat[:, one] + flat[:, other].astype(float)) / 2
    if not np.isfinite(means).any(axis=1).all():
        return []
    return [float(one) for one in np.nanmedian(means, axis=1)]


def _faces(inside: np.ndarray, valid: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the flat indices of the voxels on both sides of the outlines across an axis."""
    one = (slice(None),) * axis + (slice(None, -1),)
    other = (slice(None),) * axis + (slice(1, None),)
    meet = (inside[one] != inside[other]) & valid[one] & valid[other]
    places = np.flatnonzero(meet)
    places = places[:: len(places) // _MAX_FACES + 1]
    first = np.ravel_multi_index(np.unravel_index(places, meet.shape), inside.shape)
    return first, first + math.prod(inside.shape[axis + 1 :])


def outline_spreads(levels: Sequence[Sequence[Sequence[float]]]) -> tuple[Outlines, ...]:
    """Return level and spread of outlines under each normalisation.

    Parameters
    ----------
    levels : sequence
        For each image with outlines and each channel: the level of outlines, then the
        percentiles `LOWERS` and `UPPERS`.
    """
    if not levels:
        return ()
    table = np.asarray(levels, float)  # (images, channels, 1 + percentiles)
    found = []
    for low, lower in enumerate(LOWERS, 1):
        for high, upper in enumerate(UPPERS, 1 + len(LOWERS)):
            span = table[..., high] - table[..., low]
            shares = (table[..., 0] - table[..., low]) / np.where(span > 0, span, np.inf)
            logs = np.log(np.maximum(shares, _MIN_LEVEL))
            middle = np.median(logs, axis=0)
            spread = np.abs(logs - middle).mean(axis=0)
            level = float(np.exp(middle).mean())
            found.append(Outlines(lower, upper, level, float(spread.mean())))
    return tuple(found)
