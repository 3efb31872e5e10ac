"""From watershed regions to final objects: fill holes, grow, cut off haze, filter, number."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from cytoloop.instances.blocks import Blocks, Box, NewVolume, Volume
from cytoloop.instances.distance_map import full_scale
from cytoloop.instances.grow import grow_objects
from cytoloop.instances.haze import LEAST_PART, is_bright
from cytoloop.instances.holes import fill_holes
from cytoloop.instances.objects import ObjectMeasurements
from cytoloop.instances.settings import InstanceSettings

_IsBright = Callable[[Box], np.ndarray]


def finish_objects(
    regions: Volume,
    probability: Volume,
    settings: InstanceSettings,
    new_volume: NewVolume,
    number: np.ndarray | None = None,
    blocks: Blocks | None = None,
    brightness: Volume | None = None,
) -> tuple[Volume, ObjectMeasurements]:
    """Return labels and measurements after filling holes, growing, cutting and removing objects.

    Parameters
    ----------
    regions : Volume
        Watershed regions.
    probability, settings, new_volume
        As for `segment`.
    number : ndarray of int, optional
        Label of each region's object; None if the regions are the objects.
    blocks : Blocks, optional
        None for the whole volume at once.
    brightness : Volume, optional
        As for `segment`.
    """
    shape = tuple(regions.shape)
    blocks = blocks or Blocks(shape, shape)
    number = np.arange(int(np.max(regions[:], initial=0)) + 1) if number is None else number
    count = int(number.max(initial=0))
    measurements = _measure(regions, number, probability, blocks)
    if settings.fill_holes:
        filled = new_volume("filled", shape, np.uint32, blocks.size)
        for box in blocks:
            filled[box] = number[np.asarray(regions[box])].astype(np.uint32)
        fill_holes(filled, regions, number, measurements, blocks)
        for box in blocks:
            holes = np.where(number[np.asarray(regions[box])] == 0, np.asarray(filled[box]), 0)
            if holes.any():
                measurements.add(holes, _as_unit(probability[box]), box)
        regions, number = filled, np.arange(count + 1)
    if settings.grow or settings.grow_planes:
        steps = settings.grow, settings.grow_planes
        regions = grow_objects(regions, number, *steps, new_volume, blocks)
        number = np.arange(count + 1)
        measurements = _measure(regions, number, probability, blocks)
    whole = measurements.voxels
    bright = _is_bright(brightness, settings.haze)
    if bright is not None:
        measurements = _measure(regions, number, probability, blocks, bright)
    kept = _kept_objects(measurements, settings) & (measurements.voxels >= LEAST_PART * whole)
    measurements.select(kept)
    number = np.where(kept, np.cumsum(kept) - 1, 0)[number]
    dtype = np.min_scalar_type(int(number.max(initial=0)))
    labels = new_volume("labels", shape, dtype, blocks.size)
    for box in blocks:
        found = number[np.asarray(regions[box])].astype(dtype)
        labels[box] = found if bright is None else np.where(bright(box), found, 0)
    return labels, measurements


def _measure(
    regions: Volume,
    number: np.ndarray,
    probability: Volume,
    blocks: Blocks,
    bright: _IsBright | None = None,
) -> ObjectMeasurements:
    """Return the measurements of objects, of which each region is a part; of bright voxels only."""
    measurements = ObjectMeasurements(int(number.max(initial=0)), blocks.shape)
    for box in blocks:
        found = number[np.asarray(regions[box])]
        if bright is not None:
            found = np.where(bright(box), found, 0)
        measurements.add(found, _as_unit(probability[box]), box)
    return measurements


def _is_bright(brightness: Volume | None, haze: float) -> _IsBright | None:
    """Return a function from a box to its voxels that are no haze; None where all voxels count."""
    if brightness is None or haze == 0:
        return None
    return partial(is_bright, brightness, haze)


def _kept_objects(measurements: ObjectMeasurements, settings: InstanceSettings) -> np.ndarray:
    """Return which objects pass the size and border filters, (count + 1,) bool."""
    voxels = measurements.voxels
    kept = (voxels >= max(settings.min_voxels, 1)) & (voxels <= settings.max_voxels)
    if settings.border != "none":
        touches = measurements.touches_border()
        kept &= ~(touches if settings.border == "all" else touches[:, -2:]).any(axis=1)
    kept[0] = True
    return kept


def _as_unit(probability: Any) -> np.ndarray:
    """Return a probability map as float32, 0..1."""
    values = np.asarray(probability)
    return values.astype(np.float32) / np.float32(full_scale(values.dtype))
