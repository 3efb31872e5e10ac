"""Basins: every voxel climbs to a maximum, block by block, as it would in the whole volume.

A voxel points to the highest of its neighbours; of equal ones to that with the highest index in the
volume. The rule looks one voxel far, so that blocks find the pointers of the whole volume; those
that leave a block are followed when all blocks are done.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from cytoloop.instances.blocks import Blocks, Box, Volume, grown, within


def offsets(ndim: int) -> np.ndarray:
    """Return the steps to all neighbours of a voxel, (3**ndim - 1, ndim)."""
    steps = [s for s in itertools.product((-1, 0, 1), repeat=ndim) if any(s)]
    return np.array(steps)


def steepest_ascent(
    heights: np.ndarray, mask: np.ndarray, window: Box, core: Box, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return where the voxels of a block end up.

    Parameters
    ----------
    heights : ndarray of int32
        Of the window.
    mask : ndarray of bool
        Of the window.
    window : tuple of slice
        The core and a voxel around it, within the volume.
    core : tuple of slice
    shape : tuple of int
        Of the volume.

    Returns
    -------
    ends : ndarray of int32
        Of the core: number of the end (from 1), 0 = background.
    places : ndarray of int64
        (ends,): index in the volume of each end: a maximum, or a voxel of the core on the way out.
    onward : ndarray of int64
        (ends,): index of the voxel outside of the core that it points to; -1 for maxima.
    """
    ndim, total = len(shape), math.prod(shape)
    # one voxel of background around the window: every foreground voxel has all its neighbours
    padded = np.pad(mask, 1)
    voxels = np.flatnonzero(padded)
    row = np.zeros(padded.size, np.int32)  # of each voxel among the foreground's; 0 = background
    row[voxels] = np.arange(1, len(voxels) + 1)
    place = np.unravel_index(voxels, padded.shape)
    index = np.ravel_multi_index(
        tuple(p + (w.start - 1) for p, w in zip(place, window, strict=True)), shape
    )
    keys = np.empty(len(voxels) + 1, np.int64)
    keys[0] = -1  # lower than any voxel
    keys[1:] = heights[mask].astype(np.int64) * total + index
    inner = within(core, window)
    cored = np.zeros(len(voxels) + 1, bool)
    cored[1:] = np.logical_and.reduce(
        [(p > s.start) & (p <= s.stop) for p, s in zip(place, inner, strict=True)]
    )
    rows = np.flatnonzero(cored)
    at = voxels[rows - 1]
    strides = np.array([math.prod(padded.shape[axis + 1 :]) for axis in range(ndim)])
    best, to = keys[rows], rows.astype(np.int32)
    for step in offsets(ndim) @ strides:
        other = row[at + step]
        key = keys[other]
        higher = key > best
        best[higher] = key[higher]
        to[higher] = other[higher]
    # follow the pointers inside the core; voxels on the way out point to themselves
    point = np.arange(len(keys), dtype=np.int32)
    leaves = ~cored[to]
    point[rows] = np.where(leaves, rows, to)
    while True:
        further = point[point[rows]]
        if np.array_equal(further, point[rows]):
            break
        point[rows] = further
    found = np.zeros(len(keys), np.int32)
    found[further] = 1
    roots = np.flatnonzero(found)
    found[roots] = np.arange(1, len(roots) + 1)
    ends = np.zeros(padded.size, np.int32)
    ends[at] = found[further]
    onward = np.full(len(keys), -1, np.int64)
    onward[rows[leaves]] = best[leaves] % total
    cut = tuple(slice(s.start + 1, s.stop + 1) for s in inner)
    return ends.reshape(padded.shape)[cut], keys[roots] % total, onward[roots]


def follow_exits(ends: Volume, blocks: Blocks, onward: np.ndarray) -> np.ndarray:
    """Return the end that each end leads to, over the borders of blocks.

    Parameters
    ----------
    ends : Volume of uint32
        Numbers of all ends, from 1.
    blocks : Blocks
    onward : ndarray of int64
        (ends,): see `steepest_ascent`.

    Returns
    -------
    ndarray of int64
        (ends + 1,): number of the maximum that each end leads to; 0 for 0.
    """
    leading = np.arange(len(onward) + 1)
    leaving = np.flatnonzero(onward >= 0)
    points = np.stack(np.unravel_index(onward[leaving], blocks.shape), axis=1)
    number = blocks.number(points) if len(points) else np.zeros(0, int)
    for place, box in enumerate(blocks):
        here = number == place
        if here.any():
            local = points[here] - [s.start for s in box]
            leading[leaving[here] + 1] = np.asarray(ends[box])[tuple(local.T)]
    while True:
        further = leading[leading]
        if np.array_equal(further, leading):
            return leading
        leading = further


def find_saddles(
    ends: Volume, heights: Volume, blocks: Blocks, leading: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the highest pass between each two neighbouring basins.

    Returns
    -------
    pairs : ndarray of int64
        (N, 2), numbers of maxima, the lower one first.
    passes : ndarray of int32
        (N,), heights.
    """
    ndim, count = len(blocks.shape), len(leading)
    ahead = [step for step in offsets(ndim) if tuple(step) > (0,) * ndim]
    found: list[tuple[np.ndarray, np.ndarray]] = []
    leads = leading.astype(np.min_scalar_type(count))  # a volume of it is read 13 times
    for box in blocks:
        window = grown(box, (1,) * ndim, blocks.shape)
        basin = leads[np.asarray(ends[window])]
        if not basin.any():
            continue
        level = np.asarray(heights[window])
        core = within(box, window)
        for step in ahead:
            here = tuple(
                slice(max(c.start, -s), min(c.stop, n - s))
                for c, s, n in zip(core, step, basin.shape, strict=True)
            )
            there = tuple(slice(h.start + s, h.stop + s) for h, s in zip(here, step, strict=True))
            one, two = basin[here], basin[there]
            border = one != two
            border &= one > 0
            border &= two > 0
            if border.any():
                low = np.minimum(level[here][border], level[there][border])
                one, two = one[border].astype(np.int64), two[border].astype(np.int64)
                pair = np.minimum(one, two) * count + np.maximum(one, two)
                found.append(_highest(pair, low))
    if not found:
        return np.zeros((0, 2), np.int64), np.zeros(0, np.int32)
    pair, low = _highest(*(np.concatenate(column) for column in zip(*found, strict=True)))
    return np.stack(np.divmod(pair, count), axis=1), low


def _highest(pair: np.ndarray, low: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each pair once, with its highest pass."""
    order = np.lexsort((low, pair))
    pair, low = pair[order], low[order]
    last = np.append(pair[1:] != pair[:-1], True)
    return pair[last], low[last]


def merge_shallow_regions(
    pairs: np.ndarray, passes: np.ndarray, peaks: np.ndarray, places: np.ndarray, fall: float
) -> np.ndarray:
    """Join basins whose lower peak is less than a fall above the pass between them.

    The same as seeds of h-maxima (Soille 2003, with h = fall) and a watershed from them.

    Parameters
    ----------
    pairs, passes : ndarray
        See `find_saddles`.
    peaks : ndarray of int32
        (ends + 1,): height of each maximum.
    places : ndarray of int64
        (ends + 1,): index of each maximum in the volume, which decides between equal passes.
    fall : float

    Returns
    -------
    ndarray of int64
        (ends + 1,): the maximum that stands for each object.
    """
    leader = np.arange(len(peaks))

    def top(basin: int) -> int:
        while leader[basin] != basin:
            leader[basin] = leader[leader[basin]]
            basin = leader[basin]
        return basin

    sides = np.sort(places[pairs], axis=1)
    order = np.lexsort((sides[:, 1], sides[:, 0], -passes.astype(np.int64)))
    for one, two, low in zip(*pairs[order].T.tolist(), passes[order].tolist(), strict=True):
        first, second = top(one), top(two)
        if first == second:
            continue
        if (peaks[first], places[first]) < (peaks[second], places[second]):
            first, second = second, first
        if peaks[second] - low < fall:
            leader[second] = first
    while True:
        further = leader[leader]
        if np.array_equal(further, leader):
            return leader
        leader = further
