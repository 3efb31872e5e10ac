"""Fills holes of objects, block by block, with the result of the whole volume."""

from __future__ import annotations

from collections.abc import Iterator

import fill_voids
import numpy as np

from cytoloop.instances.blocks import Blocks, Box, Volume, relative_to
from cytoloop.instances.objects import ObjectMeasurements


def fill_holes(
    labels: Volume,
    regions: Volume,
    number: np.ndarray,
    measurements: ObjectMeasurements,
    blocks: Blocks,
) -> None:
    """Fill background that is enclosed by one object, in place.

    A hole inside several objects gets the smallest of their numbers. So the result does not
    depend on the order of the objects or on the blocks.

    Parameters
    ----------
    labels : Volume of uint32
        ([Z,] Y, X): objects 1..N, 0 = background.
    regions : Volume
        Same shape: watershed regions, which stay as they are.
    number : ndarray of int
        Label of each region's object; 0 = background.
    measurements : ObjectMeasurements
        Of the objects; their bounding boxes count.
    blocks : Blocks
        The objects that begin in one block are filled together.
    """
    for window, objects in _groups(measurements, blocks):
        current = np.asarray(labels[window])
        background = number[np.asarray(regions[window])] == 0
        is_changed = False
        for label in objects:
            box = relative_to(measurements.bounding_box(label), window)
            inside = current[box]
            holes = fill_voids.fill(inside == label) & background[box]
            holes &= (inside == 0) | (inside > label)
            if holes.any():
                inside[holes] = label
                is_changed = True
        if is_changed:
            labels[window] = current


def _groups(measurements: ObjectMeasurements, blocks: Blocks) -> Iterator[tuple[Box, list[int]]]:
    """Yield windows and the objects inside; objects that can enclose no voxel are left out."""
    first, last = measurements.first[1:], measurements.last[1:]
    labels = np.flatnonzero((last - first >= 2).all(axis=1))
    first, last = first[labels], last[labels]
    index = blocks.index_of(first) if len(labels) else np.zeros(0, int)
    order = np.argsort(index, kind="stable")
    ends = np.searchsorted(index[order], np.arange(len(blocks) + 1))
    for core, start, stop in zip(blocks, ends[:-1], ends[1:], strict=True):
        here = order[start:stop]
        if not len(here):
            continue
        reach = [
            min(s.stop + size // 4, n)
            for s, size, n in zip(core, blocks.size, blocks.shape, strict=True)
        ]
        is_near = (last[here] < reach).all(axis=1)
        near = here[is_near]
        if len(near):
            low, high = first[near].min(axis=0), last[near].max(axis=0) + 1
            box = tuple(slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True))
            yield box, (labels[near] + 1).tolist()
        for one in (labels[here[~is_near]] + 1).tolist():
            yield measurements.bounding_box(one), [one]
