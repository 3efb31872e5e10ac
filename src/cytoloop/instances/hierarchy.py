"""Watershed of a probability map, block by block, independent of the block size.

Blocks give the same objects as the whole volume: a voxel's pointer depends on its direct neighbours
only (`cytoloop.instances.watershed`), saddles and measurements are summed over all blocks, and
objects are numbered by the position of their highest voxel on the distance map.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cytoloop.errors import ImageError
from cytoloop.instances.blocks import (
    BLOCK_VOXELS,
    Blocks,
    NewVolume,
    Volume,
    add_halo,
    in_memory,
    relative_to,
)
from cytoloop.instances.distance_map import (
    foreground_mask,
    halo_size,
    log_depth,
    log_distance_map,
)
from cytoloop.instances.finish import finish_objects
from cytoloop.instances.objects import ObjectMeasurements
from cytoloop.instances.settings import InstanceSettings, relative_spacing
from cytoloop.instances.watershed import (
    find_saddles,
    follow_exits,
    merge_shallow_regions,
    steepest_ascent,
)


class WatershedHierarchy:
    """Watershed regions of all maxima and the saddles between them, shared by all `min_depth`.

    Parameters
    ----------
    probability, settings, spacing_um, new_volume, block, distance, contour
        As for `segment`. Of the settings, ``threshold``, ``smoothing`` and ``seed_smoothing`` are
        used here, the others in `objects`.
    """

    def __init__(
        self,
        probability: Volume,
        settings: InstanceSettings,
        spacing_um: Sequence[float] | None = None,
        new_volume: NewVolume | None = None,
        block: Sequence[int] | None = None,
        distance: Volume | None = None,
        contour: Volume | None = None,
    ) -> None:
        shape = tuple(int(n) for n in probability.shape)
        self._probability = probability
        self._new_volume = new_volume or in_memory
        if block:
            self._blocks = Blocks(shape, tuple(block))
        else:
            self._blocks = Blocks.for_shape(shape, BLOCK_VOXELS)
        spacing = relative_spacing(spacing_um, len(shape))
        maps = (probability, distance, contour)
        self._roots, levels, exits, self._positions = _ascend_blocks(
            maps, settings, spacing, self._blocks, self._new_volume
        )
        self._maximum_of_root = follow_exits(self._roots, self._blocks, exits)
        self._values = _values_at(levels, self._blocks, self._positions)
        self._pairs, self._saddles = find_saddles(
            self._roots, levels, self._blocks, self._maximum_of_root
        )

    def objects(
        self, settings: InstanceSettings, brightness: Volume | None = None
    ) -> tuple[Volume, ObjectMeasurements]:
        """Return labels and measurements, see `segment`."""
        leader = merge_shallow_regions(
            self._pairs,
            self._saddles,
            self._values,
            self._positions,
            log_depth(settings.min_depth),
        )
        number = _number_objects(leader[self._maximum_of_root], self._positions)
        return finish_objects(
            self._roots,
            self._probability,
            settings,
            self._new_volume,
            number,
            self._blocks,
            brightness,
        )


def _ascend_blocks(
    maps: tuple[Volume, Volume | None, Volume | None],
    settings: InstanceSettings,
    spacing: Sequence[float],
    blocks: Blocks,
    new_volume: NewVolume,
) -> tuple[Volume, Volume, np.ndarray, np.ndarray]:
    """Return each voxel's root and log distance, and the exit and position of each root.

    `maps` are the probability, distance and contour maps, see `segment`. Row 0 of the positions is
    background.
    """
    probability, distance, contour = maps
    shape = blocks.shape
    halo = halo_size(settings, spacing, distance is not None)
    roots = new_volume("roots", shape, np.uint32, blocks.size)
    levels = new_volume("log_distance", shape, np.int32, blocks.size)
    exits, positions, count = [], [np.full(1, -1)], 0
    for core in blocks:
        window = add_halo(core, halo, shape)
        mask = foreground_mask(np.asarray(probability[window]), settings, spacing)
        ring = add_halo(core, (1,) * len(shape), shape)
        inner = relative_to(ring, window)
        if not mask[inner].any():
            continue
        near, edge = (None if v is None else np.asarray(v[window]) for v in (distance, contour))
        values = log_distance_map(mask, settings, spacing, near, edge)
        local, position, out = steepest_ascent(values[inner], mask[inner], ring, core, shape)
        numbers = local.astype(np.uint32)
        numbers[local > 0] += count
        count += len(position)
        if count >= 2**32:
            raise ImageError(
                "labels",
                f"{count} watershed regions, expected fewer than {2**32}",
                "Raise postprocess.threshold or postprocess.seed_smoothing.",
            )
        roots[core] = numbers
        levels[core] = values[relative_to(core, window)]
        exits.append(out)
        positions.append(position)
    return roots, levels, np.concatenate([*exits, np.zeros(0, np.int64)]), np.concatenate(positions)


def _values_at(volume: Volume, blocks: Blocks, positions: np.ndarray) -> np.ndarray:
    """Return the volume's values at flat indices, (roots + 1,) int32; 0 for background."""
    values = np.zeros(len(positions), np.int32)
    points = np.stack(np.unravel_index(positions[1:], blocks.shape), axis=1)
    block_index = blocks.index_of(points) if len(points) else np.zeros(0, int)
    for number, box in enumerate(blocks):
        here = np.flatnonzero(block_index == number)
        if len(here):
            local = points[here] - [s.start for s in box]
            values[here + 1] = np.asarray(volume[box])[tuple(local.T)]
    return values


def _number_objects(leaders: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return the label of each root's object: 1..N by the position of its maximum; 0 for 0."""
    maxima = np.unique(leaders[1:])
    maxima = maxima[np.argsort(positions[maxima], kind="stable")]
    number = np.zeros(len(leaders), np.int64)
    number[maxima] = np.arange(1, len(maxima) + 1)
    labels = number[leaders]
    labels[0] = 0
    return labels
