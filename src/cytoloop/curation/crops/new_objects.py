"""New objects in crops: each is kept once, although two annotators may have drawn it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cytoloop.curation.crops.returned_crops import ReturnedCrop
from cytoloop.curation.crops.tiles import find_anchor


class _NewObject(NamedTuple):
    crop: int
    id: int
    voxels: np.ndarray
    """Sorted flat indices in the image."""
    home: int
    """The crop whose core contains the anchor."""


def number_new_objects(
    crops: Sequence[ReturnedCrop], shape: tuple[int, ...]
) -> list[dict[int, int]]:
    """Return which new objects of each crop are kept, numbered from 1 over all crops.

    A drawing is kept if its anchor is in the core of its own crop, and ignored if not. Two
    annotators draw the same object differently, so each may see the anchor in the other's core;
    such drawings are kept, too. Drawings of two crops are the same object if they overlap by more
    than half of the smaller one. The object is then kept once: from a finished crop before an
    unfinished one, then from the earlier crop.

    Parameters
    ----------
    crops : sequence of ReturnedCrop
    shape : tuple of int
        (Z, Y, X) of the image.

    Returns
    -------
    list of dict of int to int
        For each crop, negative id to new number.
    """
    order = sorted(range(len(crops)), key=lambda k: not crops[k].done.all())
    objects = [one for k in order for one in _find_new_objects(k, crops, shape)]
    at_home = [one for one in objects if one.home == one.crop]
    away = [one for one in objects if one.home != one.crop]
    kept: list[list[_NewObject]] = [[] for _ in crops]
    for one in at_home + _drawn_in_both_homes(away):
        neighbours = [
            k
            for k, crop in enumerate(crops)
            if k != one.crop and crop.box.overlaps(crops[one.crop].box)
        ]
        if not any(_is_same(one, other) for k in neighbours for other in kept[k]):
            kept[one.crop].append(one)
    numbers = itertools.count(1)
    return [{one.id: next(numbers) for one in found} for found in kept]


def _find_new_objects(
    k: int, crops: Sequence[ReturnedCrop], shape: tuple[int, ...]
) -> list[_NewObject]:
    """Return the new objects of the k-th crop, in the order in which they were found."""
    box, ids = crops[k].box, crops[k].ids
    found = []
    for one in sorted((int(n) for n in np.unique(ids) if n < 0), reverse=True):
        voxels = np.argwhere(ids == one) + np.array([0, box.y0, box.x0])
        _, y, x = find_anchor(voxels)
        home = next(i for i, crop in enumerate(crops) if crop.core.contains_pixel(y, x))
        flat = np.ravel_multi_index(tuple(voxels.T), shape)
        found.append(_NewObject(k, one, flat, home))
    return found


def _drawn_in_both_homes(objects: Sequence[_NewObject]) -> list[_NewObject]:
    """Return objects that two crops drew, each with the anchor in the other's core."""
    return [
        one
        for one in objects
        if any(
            (other.crop, other.home) == (one.home, one.crop) and _is_same(one, other)
            for other in objects
        )
    ]


def _is_same(one: _NewObject, other: _NewObject) -> bool:
    """Return whether the overlap of two drawings is more than half of the smaller one."""
    if one.voxels[0] > other.voxels[-1] or other.voxels[0] > one.voxels[-1]:
        return False
    shared = len(np.intersect1d(one.voxels, other.voxels, assume_unique=True))
    return 2 * shared > min(len(one.voxels), len(other.voxels))
