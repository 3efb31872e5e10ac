"""Watershed on a distance map, block by block, with the result of the whole volume.

1. `steepest_ascent`: each voxel of a block points to its highest neighbour. Following the pointers
   inside the block leads to a root: a local maximum, or a voxel whose pointer leaves the block.
2. `follow_exits`: pointers that leave a block are followed through the other blocks.
3. `find_saddles`: the highest saddle between each two touching regions.
4. `merge_shallow_regions`: regions with a shallow valley between them become one object.

Of equal neighbours, a voxel points to the one with the largest flat index in the volume. A pointer
depends on the direct neighbours only, so that every choice of blocks gives the same pointers.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from cytoloop.instances.blocks import Blocks, Box, Volume, add_halo, relative_to


def neighbour_offsets(ndim: int) -> np.ndarray:
    """Return the offsets to all neighbours of a voxel, (3**ndim - 1, ndim)."""
    offsets = [s for s in itertools.product((-1, 0, 1), repeat=ndim) if any(s)]
    return np.array(offsets)


def steepest_ascent(
    distance: np.ndarray, mask: np.ndarray, window: Box, core: Box, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the root of each voxel of a block.

    Parameters
    ----------
    distance : ndarray of int32
        Distance map in the window.
    mask : ndarray of bool
        Foreground in the window.
    window : tuple of slice
        The block with a halo of one voxel, within the volume.
    core : tuple of slice
        The block.
    shape : tuple of int
        Shape of the volume.

    Returns
    -------
    labels : ndarray of int32
        Shape of the core: number of the root, from 1; 0 = background.
    positions : ndarray of int64
        (roots,): flat index of each root in the volume.
    exits : ndarray of int64
        (roots,): flat index of the voxel outside the core that the root points to; -1 for a local
        maximum.
    """
    ndim, total = len(shape), math.prod(shape)
    # One voxel of background around the window: every foreground voxel has all its neighbours.
    padded = np.pad(mask, 1)
    voxels = np.flatnonzero(padded)
    row = np.zeros(padded.size, np.int32)  # number of each foreground voxel; 0 = background
    row[voxels] = np.arange(1, len(voxels) + 1)
    coordinates = np.unravel_index(voxels, padded.shape)
    index = np.ravel_multi_index(
        tuple(c + (w.start - 1) for c, w in zip(coordinates, window, strict=True)), shape
    )
    # one key per voxel: distance first, then flat index
    keys = np.empty(len(voxels) + 1, np.int64)
    keys[0] = -1  # lower than any voxel
    keys[1:] = distance[mask].astype(np.int64) * total + index
    inner = relative_to(core, window)
    in_core = np.zeros(len(voxels) + 1, bool)
    in_core[1:] = np.logical_and.reduce(
        [(c > s.start) & (c <= s.stop) for c, s in zip(coordinates, inner, strict=True)]
    )
    rows = np.flatnonzero(in_core)
    at = voxels[rows - 1]
    strides = np.array([math.prod(padded.shape[axis + 1 :]) for axis in range(ndim)])
    best, target = keys[rows], rows.astype(np.int32)
    for stride in neighbour_offsets(ndim) @ strides:
        other = row[at + stride]
        key = keys[other]
        higher = key > best
        best[higher] = key[higher]
        target[higher] = other[higher]
    # follow the pointers inside the core; a voxel whose pointer leaves the core points to itself
    pointer = np.arange(len(keys), dtype=np.int32)
    leaves = ~in_core[target]
    pointer[rows] = np.where(leaves, rows, target)
    while True:
        further = pointer[pointer[rows]]
        if np.array_equal(further, pointer[rows]):
            break
        pointer[rows] = further
    number = np.zeros(len(keys), np.int32)
    number[further] = 1
    roots = np.flatnonzero(number)
    number[roots] = np.arange(1, len(roots) + 1)
    labels = np.zeros(padded.size, np.int32)
    labels[at] = number[further]
    exits = np.full(len(keys), -1, np.int64)
    exits[rows[leaves]] = best[leaves] % total
    cut = tuple(slice(s.start + 1, s.stop + 1) for s in inner)
    return labels.reshape(padded.shape)[cut], keys[roots] % total, exits[roots]


def follow_exits(roots: Volume, blocks: Blocks, exits: np.ndarray) -> np.ndarray:
    """Return the local maximum that each root leads to through all blocks.

    Parameters
    ----------
    roots : Volume of uint32
        Number of each voxel's root, from 1 over all blocks; 0 = background.
    blocks : Blocks
    exits : ndarray of int64
        (roots,): see `steepest_ascent`.

    Returns
    -------
    ndarray of int64
        (roots + 1,): number of the root that is the local maximum; 0 for 0.
    """
    maximum_of_root = np.arange(len(exits) + 1)
    leaving = np.flatnonzero(exits >= 0)
    points = np.stack(np.unravel_index(exits[leaving], blocks.shape), axis=1)
    block_index = blocks.index_of(points) if len(points) else np.zeros(0, int)
    for number, box in enumerate(blocks):
        here = block_index == number
        if here.any():
            local = points[here] - [s.start for s in box]
            maximum_of_root[leaving[here] + 1] = np.asarray(roots[box])[tuple(local.T)]
    return _resolve(maximum_of_root)


def find_saddles(
    roots: Volume, distance: Volume, blocks: Blocks, maximum_of_root: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the highest saddle between each two touching regions.

    Parameters
    ----------
    roots : Volume of uint32
        See `follow_exits`.
    distance : Volume of int32
        Distance map.
    blocks : Blocks
    maximum_of_root : ndarray of int64
        See `follow_exits`.

    Returns
    -------
    pairs : ndarray of int64
        (N, 2): numbers of the two maxima, the smaller one first.
    saddles : ndarray of int32
        (N,): distance map at the saddle.
    """
    ndim, count = len(blocks.shape), len(maximum_of_root)
    forward = [offset for offset in neighbour_offsets(ndim) if tuple(offset) > (0,) * ndim]
    found: list[tuple[np.ndarray, np.ndarray]] = []
    # the smallest dtype: the regions are compared 13 times in 3D
    region_of_root = maximum_of_root.astype(np.min_scalar_type(count))
    for box in blocks:
        window = add_halo(box, (1,) * ndim, blocks.shape)
        region = region_of_root[np.asarray(roots[window])]
        if not region.any():
            continue
        values = np.asarray(distance[window])
        core = relative_to(box, window)
        for offset in forward:
            here = tuple(
                slice(max(c.start, -s), min(c.stop, n - s))
                for c, s, n in zip(core, offset, region.shape, strict=True)
            )
            there = tuple(slice(h.start + s, h.stop + s) for h, s in zip(here, offset, strict=True))
            first, second = region[here], region[there]
            border = first != second
            border &= first > 0
            border &= second > 0
            if border.any():
                saddle = np.minimum(values[here][border], values[there][border])
                first, second = first[border].astype(np.int64), second[border].astype(np.int64)
                pair = np.minimum(first, second) * count + np.maximum(first, second)
                found.append(_highest(pair, saddle))
    if not found:
        return np.zeros((0, 2), np.int64), np.zeros(0, np.int32)
    pair, saddle = _highest(*(np.concatenate(column) for column in zip(*found, strict=True)))
    return np.stack(np.divmod(pair, count), axis=1), saddle


def merge_shallow_regions(
    pairs: np.ndarray,
    saddles: np.ndarray,
    values: np.ndarray,
    positions: np.ndarray,
    min_depth: float,
) -> np.ndarray:
    """Merge regions if the lower maximum is less than `min_depth` above the saddle between them.

    The result equals a watershed from h-maxima (Soille 2003) with h = `min_depth`.

    Parameters
    ----------
    pairs, saddles : ndarray
        See `find_saddles`.
    values : ndarray of int32
        (roots + 1,): distance map at each local maximum.
    positions : ndarray of int64
        (roots + 1,): flat index of each root in the volume; breaks ties between equal saddles.
    min_depth : float
        In levels of the distance map.

    Returns
    -------
    ndarray of int64
        (roots + 1,): the highest maximum of the object that each maximum belongs to.
    """
    leader = np.arange(len(values))

    def top(region: int) -> int:
        while leader[region] != region:
            leader[region] = leader[leader[region]]
            region = leader[region]
        return region

    sides = np.sort(positions[pairs], axis=1)
    order = np.lexsort((sides[:, 1], sides[:, 0], -saddles.astype(np.int64)))
    for one, two, saddle in zip(*pairs[order].T.tolist(), saddles[order].tolist(), strict=True):
        first, second = top(one), top(two)
        if first == second:
            continue
        if (values[first], positions[first]) < (values[second], positions[second]):
            first, second = second, first
        if values[second] - saddle < min_depth:
            leader[second] = first
    return _resolve(leader)


def _highest(pair: np.ndarray, saddle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each pair once, with its highest saddle."""
    order = np.lexsort((saddle, pair))
    pair, saddle = pair[order], saddle[order]
    last = np.append(pair[1:] != pair[:-1], True)
    return pair[last], saddle[last]


def _resolve(pointer: np.ndarray) -> np.ndarray:
    """Return where each chain of pointers ends."""
    while True:
        further = pointer[pointer]
        if np.array_equal(further, pointer):
            return pointer
        pointer = further
