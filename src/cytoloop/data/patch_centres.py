"""Voxels that patches are placed around."""

from __future__ import annotations

import numpy as np

from cytoloop.truth.regions import instance_labels

POINTS_PER_OBJECT = 32
POINTS_PER_CLASS = 4096
PLACES = 4096


def object_points(
    labels: np.ndarray, valid: np.ndarray, classes: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return some voxels of each object, so that a patch can be centred on one.

    A binary segmentation is split into connected components first: otherwise its one label
    would make large objects likelier than small ones. A class is taken for one object: patches
    show a rare one as often as any other.

    Returns
    -------
    points : ndarray of int32
        (N, ndim), at most 32 an object and 4096 a class, none of them excluded.
    starts : ndarray of int64
        (objects + 1,) offsets into `points`.
    """
    counted = np.where(valid, labels, 0)
    counted = counted if classes else instance_labels(counted)
    most = POINTS_PER_CLASS if classes else POINTS_PER_OBJECT
    places = np.nonzero(counted)
    codes = counted[places]
    rng = np.random.default_rng(0)
    order = rng.permutation(len(codes))  # so that the first few of an object are a random few
    order = order[np.argsort(codes[order], kind="stable")]
    _, first, count = np.unique(codes[order], return_index=True, return_counts=True)
    taken = [order[f : f + min(n, most)] for f, n in zip(first, count, strict=True)]
    starts = np.concatenate([[0], np.cumsum([len(t) for t in taken])]).astype(np.int64)
    index = np.concatenate(taken) if taken else np.zeros(0, np.int64)
    points = np.stack([axis[index] for axis in places], axis=1).astype(np.int32)
    return points, starts


def valid_places(valid: np.ndarray) -> np.ndarray | None:
    """Return random voxels that are not excluded, at most 4096; None where no voxel is.

    Returns
    -------
    ndarray of int32, or None
        (N, ndim).
    """
    if valid.all():
        return None
    flat = np.flatnonzero(valid)
    if len(flat) > PLACES:
        flat = np.random.default_rng(0).choice(flat, PLACES, replace=False)
    return np.stack(np.unravel_index(flat, valid.shape), axis=1).astype(np.int32)
