"""Objects drawn anew: each counted once, although two people may have drawn it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cytoloop.curation.crops.tiles import Box, anchor_of


class Drawn(NamedTuple):
    """A crop: its boxes, its objects (new ones negative), and whether all of it is done."""

    core: Box
    box: Box
    named: np.ndarray
    done: bool


class _Object(NamedTuple):
    crop: int
    part: int
    voxels: np.ndarray
    """Sorted flat indices in the image."""
    home: int
    """The crop whose core holds the anchor."""


def claim_drawn(crops: Sequence[Drawn], shape: tuple[int, ...]) -> list[dict[int, int]]:
    """Return which new objects of each crop are taken, numbered from 1 over all crops.

    One is taken from the crop whose core holds its anchor. Two people do not draw an object
    alike: where both took it for their own, or each for the other's, and the drawings overlap
    by more than half of the smaller one, it is taken once, from the first of the crops that are
    done, else from the first.

    Parameters
    ----------
    crops : sequence of Drawn
    shape : tuple of int
        (Z, Y, X) of the image.

    Returns
    -------
    list of dict of int to int
        For each crop, negative number in `named` to number in the image.
    """
    order = sorted(range(len(crops)), key=lambda k: not crops[k].done)
    objects = [one for k in order for one in _new_objects(k, crops, shape)]
    taken = [one for one in objects if one.home == one.crop]
    kept: list[list[_Object]] = [[] for _ in crops]
    for one in taken + _mutual([one for one in objects if one.home != one.crop]):
        around = [
            k
            for k, crop in enumerate(crops)
            if k != one.crop and crop.box.meets(crops[one.crop].box)
        ]
        if not any(_same(one, other) for k in around for other in kept[k]):
            kept[one.crop].append(one)
    numbers = itertools.count(1)
    return [{one.part: next(numbers) for one in found} for found in kept]


def _new_objects(k: int, crops: Sequence[Drawn], shape: tuple[int, ...]) -> list[_Object]:
    box, named = crops[k].box, crops[k].named
    found = []
    for part in sorted((int(n) for n in np.unique(named) if n < 0), reverse=True):
        voxels = np.argwhere(named == part) + np.array([0, box.y0, box.x0])
        _, y, x = anchor_of(voxels)
        home = next(i for i, crop in enumerate(crops) if crop.core.holds(y, x))
        flat = np.ravel_multi_index(tuple(voxels.T), shape)
        found.append(_Object(k, part, flat, home))
    return found


def _mutual(objects: Sequence[_Object]) -> list[_Object]:
    """Return objects that each of two crops holds for the other's."""
    return [
        one
        for one in objects
        if any(
            (other.crop, other.home) == (one.home, one.crop) and _same(one, other)
            for other in objects
        )
    ]


def _same(one: _Object, other: _Object) -> bool:
    """Tell whether two drawings are of one object."""
    if one.voxels[0] > other.voxels[-1] or other.voxels[0] > one.voxels[-1]:
        return False
    shared = len(np.intersect1d(one.voxels, other.voxels, assume_unique=True))
    return 2 * shared > min(len(one.voxels), len(other.voxels))
