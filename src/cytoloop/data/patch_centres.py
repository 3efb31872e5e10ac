"""Centres of patches: points in objects and valid voxels, and a random choice among them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cytoloop.data.cached_image import CachedImage
from cytoloop.truth.regions import instance_labels

POINTS_PER_OBJECT = 32
POINTS_PER_CLASS = 4096
VALID_POINTS = 4096


def object_points(
    labels: np.ndarray, valid: np.ndarray, classes: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return some random valid voxels of each object.

    A binary segmentation is split into connected components first, so that small objects are as
    likely as large ones. A class counts as one object, so that rare classes are as likely as
    frequent ones.

    Parameters
    ----------
    labels : ndarray of unsigned integers
        ([Z,] Y, X).
    valid : ndarray of bool
        Same shape; False = excluded.
    classes : bool
        The labels are classes.

    Returns
    -------
    points : ndarray of int32
        (N, ndim): at most 32 of each object, or 4096 of each class.
    starts : ndarray of int64
        (objects + 1,): index of the first point of each object.
    """
    counted = np.where(valid, labels, 0)
    counted = counted if classes else instance_labels(counted)
    max_points = POINTS_PER_CLASS if classes else POINTS_PER_OBJECT
    voxels = np.nonzero(counted)
    objects = counted[voxels]
    rng = np.random.default_rng(0)
    order = rng.permutation(len(objects))  # the first points of an object are a random choice
    order = order[np.argsort(objects[order], kind="stable")]
    _, first, count = np.unique(objects[order], return_index=True, return_counts=True)
    chosen = [order[f : f + min(n, max_points)] for f, n in zip(first, count, strict=True)]
    starts = np.concatenate([[0], np.cumsum([len(c) for c in chosen])]).astype(np.int64)
    index = np.concatenate(chosen) if chosen else np.zeros(0, np.int64)
    points = np.stack([axis[index] for axis in voxels], axis=1).astype(np.int32)
    return points, starts


def valid_points(valid: np.ndarray) -> np.ndarray | None:
    """Return at most 4096 random valid voxels, (N, ndim) int32; None if no voxel is excluded."""
    if valid.all():
        return None
    flat = np.flatnonzero(valid)
    if len(flat) > VALID_POINTS:
        flat = np.random.default_rng(0).choice(flat, VALID_POINTS, replace=False)
    return np.stack(np.unravel_index(flat, valid.shape), axis=1).astype(np.int32)


def draw_centre(
    cached: CachedImage, size: Sequence[int], rng: np.random.Generator, foreground_fraction: float
) -> np.ndarray:
    """Return the centre of a random patch that lies inside the image, in voxels.

    Parameters
    ----------
    cached : CachedImage
    size : sequence of int
        Size of the patch, [Z,] Y, X; at most that of the image.
    rng : Generator
    foreground_fraction : float
        Probability that the patch is placed around a random object; all objects are equally
        likely. Otherwise, all positions are equally likely. If voxels are excluded, the patch is
        placed around a random valid voxel, so that it has at least one.

    Returns
    -------
    ndarray of float
        (ndim,): corner + (size - 1) / 2.
    """
    room = [n - s for n, s in zip(cached.shape, size, strict=True)]
    starts = cached.object_starts
    if len(starts) > 1 and rng.random() < foreground_fraction:
        number = rng.integers(len(starts) - 1)
        voxel = cached.object_points[rng.integers(starts[number], starts[number + 1])]
        # random shift of up to a quarter patch: objects are not always in the centre
        shift = [s // 2 + int(rng.integers(-(s // 4), s // 4 + 1)) for s in size]
    elif cached.valid_points is not None:
        voxel = cached.valid_points[rng.integers(len(cached.valid_points))]
        shift = [int(rng.integers(s)) for s in size]
    else:
        voxel = np.array([rng.integers(r + 1) for r in room])
        shift = [0] * len(room)
    corner = [min(max(int(v) - s, 0), r) for v, s, r in zip(voxel, shift, room, strict=True)]
    return np.array([c + (s - 1) / 2 for c, s in zip(corner, size, strict=True)])
