"""From a map of probability to labels, block by block: the same objects whatever the blocks.

Nothing is decided inside a block that the next block could decide otherwise: voxels climb by a rule
that looks one voxel far (`cytoloop.instances.watershed`), passes between basins and sums over objects
are added up over all blocks, and objects are numbered by the place of their peak.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import fill_voids
import numpy as np

from cytoloop.errors import ImageError
from cytoloop.instances.blocks import BLOCK_VOXELS, Blocks, Volume, extent, grown, within
from cytoloop.instances.distance_map import (
    foreground_mask,
    full_scale,
    halo_size,
    log_depth,
    log_distance_map,
)
from cytoloop.instances.hitif import hitif_watershed
from cytoloop.instances.objects import ObjectMeasurements
from cytoloop.instances.settings import InstanceSettings, relative_spacing
from cytoloop.instances.watershed import (
    find_saddles,
    follow_exits,
    merge_shallow_regions,
    steepest_ascent,
)

NewVolume = Callable[[str, tuple[int, ...], Any, tuple[int, ...]], Volume]
"""Makes an empty volume: called with a name, a shape, a dtype and the size of blocks."""


def segment(
    probability: Volume,
    rule: InstanceSettings,
    spacing_um: Sequence[float] | None = None,
    new: NewVolume | None = None,
    block: Sequence[int] | None = None,
    distance: Volume | None = None,
    contour: Volume | None = None,
) -> tuple[Volume, ObjectMeasurements]:
    """Part the foreground of a map into objects.

    Parameters
    ----------
    probability : Volume
        ([Z,] Y, X): 0..255 (uint8) or 0..1 (floats).
    rule : InstanceSettings
    spacing_um : sequence of float, optional
        (Z, Y, X); distances respect it. None: cubes.
    new : callable, optional
        Where labels and intermediate volumes are kept; default in memory.
    block : sequence of int, optional
        Size of a block, and with it the memory that is needed.
    distance : Volume, optional
        ([Z,] Y, X), 0..255 (uint8) or 0..1 (floats): how deep inside its object each voxel lies.
        None: the distance to background takes its place.
    contour : Volume, optional
        Same shape: how near to a contour each voxel lies. Beside a depth only.

    Returns
    -------
    labels : Volume of unsigned integers
        Same shape; 1..N in the order of the objects' peaks; the smallest type that holds them.
    sums : ObjectMeasurements

    Raises
    ------
    ImageError
        More pieces than 32 bits can number.
    """
    if rule.method == "hitif":
        steps = relative_spacing(spacing_um, len(probability.shape))
        grown_ones = hitif_watershed(probability, distance, contour, rule, steps)
        return _finished(grown_ones, probability, rule, new or _in_memory)
    return WatershedHierarchy(probability, rule, spacing_um, new, block, distance, contour).objects(
        rule
    )


class WatershedHierarchy:
    """Basins of a map and the passes between them: what every `min_depth` has in common.

    Parameters
    ----------
    probability, rule, spacing_um, new, block, distance, contour
        As for `segment`; of the rule threshold, smoothing and seed_smoothing count.
    """

    def __init__(
        self,
        probability: Volume,
        rule: InstanceSettings,
        spacing_um: Sequence[float] | None = None,
        new: NewVolume | None = None,
        block: Sequence[int] | None = None,
        distance: Volume | None = None,
        contour: Volume | None = None,
    ) -> None:
        shape = tuple(int(n) for n in probability.shape)
        self._probability = probability
        self._new = new or _in_memory
        self._blocks = (
            Blocks(shape, tuple(block)) if block else Blocks.for_shape(shape, BLOCK_VOXELS)
        )
        self._ends, heights, onward, self._places = _climb_all(
            probability, distance, contour, rule, spacing_um, self._blocks, self._new
        )
        self._leading = follow_exits(self._ends, self._blocks, onward)
        self._peaks = _peaks(heights, self._blocks, self._places)
        self._pairs, self._passes = find_saddles(self._ends, heights, self._blocks, self._leading)

    def objects(self, rule: InstanceSettings) -> tuple[Volume, ObjectMeasurements]:
        """Return labels and sums, see `segment`."""
        leader = merge_shallow_regions(
            self._pairs, self._passes, self._peaks, self._places, log_depth(rule.min_depth)
        )
        number = _numbered(leader[self._leading], self._places)
        return _finished(self._ends, self._probability, rule, self._new, number, self._blocks)


def _climb_all(
    probability: Volume,
    distance: Volume | None,
    contour: Volume | None,
    rule: InstanceSettings,
    spacing_um: Sequence[float] | None,
    blocks: Blocks,
    new: NewVolume,
) -> tuple[Volume, Volume, np.ndarray, np.ndarray]:
    """Return ends and heights of all voxels, and of each end its way on and its place."""
    shape = blocks.shape
    steps = relative_spacing(spacing_um, len(shape))
    halo = halo_size(rule, steps, distance is not None)
    ends = new("ends", shape, np.uint32, blocks.size)
    heights = new("heights", shape, np.int32, blocks.size)
    onward, places, count = [], [np.full(1, -1)], 0
    for core in blocks:
        window = grown(core, halo, shape)
        mask = foreground_mask(np.asarray(probability[window]), rule, steps)
        rim = grown(core, (1,) * len(shape), shape)
        inner = within(rim, window)
        if not mask[inner].any():
            continue
        told, near = (
            None if one is None else np.asarray(one[window]) for one in (distance, contour)
        )
        level = log_distance_map(mask, rule, steps, told, near)
        local, place, on = steepest_ascent(level[inner], mask[inner], rim, core, shape)
        numbers = local.astype(np.uint32)
        numbers[local > 0] += count
        count += len(place)
        if count >= 2**32:
            raise ImageError(
                "labels", f"{count} pieces and more", "Raise the threshold or seed_smoothing."
            )
        ends[core] = numbers
        heights[core] = level[within(core, window)]
        onward.append(on)
        places.append(place)
    return ends, heights, np.concatenate([*onward, np.zeros(0, np.int64)]), np.concatenate(places)


def _peaks(heights: Volume, blocks: Blocks, places: np.ndarray) -> np.ndarray:
    """Return the height at each place, (ends + 1,); 0 for background."""
    peaks = np.zeros(len(places), np.int32)
    points = np.stack(np.unravel_index(places[1:], blocks.shape), axis=1)
    number = blocks.number(points) if len(points) else np.zeros(0, int)
    for place, box in enumerate(blocks):
        here = np.flatnonzero(number == place)
        if len(here):
            local = points[here] - [s.start for s in box]
            peaks[here + 1] = np.asarray(heights[box])[tuple(local.T)]
    return peaks


def _numbered(standing: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the number of each end's object: 1..N by the place of its peak; 0 for 0."""
    tops = np.unique(standing[1:])
    tops = tops[np.argsort(places[tops], kind="stable")]
    number = np.zeros(len(standing), np.int64)
    number[tops] = np.arange(1, len(tops) + 1)
    numbered = number[standing]
    numbered[0] = 0
    return numbered


def _finished(
    ends: Volume,
    probability: Volume,
    rule: InstanceSettings,
    new: NewVolume,
    number: np.ndarray | None = None,
    blocks: Blocks | None = None,
) -> tuple[Volume, ObjectMeasurements]:
    """Return labels without holes, crumbs and what touches the border, and their sums.

    Parameters
    ----------
    ends : Volume
        Pieces.
    probability, rule, new
        As for `segment`.
    number : ndarray of int, optional
        The object of each piece; None: pieces are objects.
    blocks : Blocks, optional
        None: the whole volume at once.
    """
    shape = tuple(ends.shape)
    blocks = blocks or Blocks(shape, shape)
    number = np.arange(int(np.max(ends[:], initial=0)) + 1) if number is None else number
    count = int(number.max(initial=0))
    sums = ObjectMeasurements(count, shape)
    for box in blocks:
        sums.add(number[np.asarray(ends[box])], _unit(probability[box]), box)
    if rule.fill_holes:
        filled = new("filled", shape, np.uint32, blocks.size)
        for box in blocks:
            filled[box] = number[np.asarray(ends[box])].astype(np.uint32)
        _fill_holes(filled, sums, probability)
        ends, number = filled, np.arange(count + 1)
    kept = _kept(sums, rule)
    sums.keep(kept)
    number = np.where(kept, np.cumsum(kept) - 1, 0)[number]
    dtype = np.min_scalar_type(int(number.max(initial=0)))
    labels = new("labels", shape, dtype, blocks.size)
    for box in blocks:
        labels[box] = number[np.asarray(ends[box])].astype(dtype)
    return labels, sums


def _fill_holes(labels: Volume, sums: ObjectMeasurements, probability: Volume) -> None:
    """Give background that an object encloses to that object."""
    for number in range(1, len(sums.voxels)):
        box = sums.box(number)
        if min(extent(box)) < 3:
            continue  # too thin to enclose anything
        piece = np.asarray(labels[box])
        filled = fill_voids.fill(piece == number)
        holes = filled & (piece == 0)
        if holes.any():
            labels[box] = np.where(holes, number, piece).astype(np.uint32)
            sums.add(holes * number, _unit(probability[box]), box)


def _kept(sums: ObjectMeasurements, rule: InstanceSettings) -> np.ndarray:
    """Return which objects stay, (count + 1,)."""
    kept = (sums.voxels >= rule.min_voxels) & (sums.voxels <= rule.max_voxels)
    if rule.border != "none":
        sides = sums.touching()
        kept &= ~(sides if rule.border == "all" else sides[:, -2:]).any(axis=1)
    kept[0] = True
    return kept


def _unit(probability: Any) -> np.ndarray:
    values = np.asarray(probability)
    return values.astype(np.float32) / np.float32(full_scale(values.dtype))


def _in_memory(name: str, shape: tuple[int, ...], dtype: Any, block: tuple[int, ...]) -> np.ndarray:
    return np.zeros(shape, dtype)
