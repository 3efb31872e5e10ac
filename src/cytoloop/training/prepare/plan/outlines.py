"""At which grey level objects end: what a normalisation should make alike in all images.

Where a network finds an outline depends on the grey level there. A percentile that moves with the
number of objects, or with a few bright ones, moves that level from image to image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LOWERS = (1.0, 50.0)
UPPERS = (99.0, 99.5, 99.8, 99.9, 99.95)
_MOST_FACES = 200_000
"""Of an image and an axis; of more, every n-th."""
_FAINTEST = 0.01
"""Levels below it count as this: of an outline as dark as background no logarithm is told."""


@dataclass(frozen=True)
class Outlines:
    """Where objects end under one normalisation.

    Attributes
    ----------
    lower, upper : float
        Percentiles that become 0 and 1.
    level : float
        Of the outlines of an image, in those units: median over the images.
    spread : float
        Mean distance of the images' levels to it, as a share of it. Both are means over channels:
        one that does not show the objects has the same spread under every percentile.
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
        Same shape; False = excluded: what touches it is no outline.

    Returns
    -------
    list of float
        Of each channel the median over the faces between an object and background, each the mean
        of its two voxels; empty without such faces, or where a channel is NaN at all of them.
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
    """Return the indices of the voxels on both sides of outlines across an axis."""
    one = (slice(None),) * axis + (slice(None, -1),)
    other = (slice(None),) * axis + (slice(1, None),)
    meet = (inside[one] != inside[other]) & valid[one] & valid[other]
    places = np.flatnonzero(meet)
    places = places[:: len(places) // _MOST_FACES + 1]
    first = np.ravel_multi_index(np.unravel_index(places, meet.shape), inside.shape)
    return first, first + math.prod(inside.shape[axis + 1 :])


def compare(levels: Sequence[Sequence[Sequence[float]]]) -> tuple[Outlines, ...]:
    """Return how alike the outlines of images are under each normalisation.

    Parameters
    ----------
    levels : sequence
        Of each image with outlines, of each channel: the level there, then the percentiles
        `LOWERS` and `UPPERS`.
    """
    if not levels:
        return ()
    table = np.asarray(levels, float)  # (images, channels, 1 + percentiles)
    found = []
    for low, lower in enumerate(LOWERS, 1):
        for high, upper in enumerate(UPPERS, 1 + len(LOWERS)):
            span = table[..., high] - table[..., low]
            shares = (table[..., 0] - table[..., low]) / np.where(span > 0, span, np.inf)
            logs = np.log(np.maximum(shares, _FAINTEST))
            middle = np.median(logs, axis=0)
            spread = np.abs(logs - middle).mean(axis=0)
            level = float(np.exp(middle).mean())
            found.append(Outlines(lower, upper, level, float(spread.mean())))
    return tuple(found)
