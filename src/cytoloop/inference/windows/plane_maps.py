"""The probability maps of a stack that a 2D model takes plane by plane.

Each plane is a picture with its own grey-level statistics, as in training. Its maps are those of
the plane in a file of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from cytoloop.inference.stopwatch import NETWORK, timed
from cytoloop.inference.volume_storage import VolumeStorage, plane_slabs
from cytoloop.inference.windows.layout import WindowLayout
from cytoloop.inference.windows.predictor import Predictor
from cytoloop.inference.windows.probability_maps import (
    ProbabilityMaps,
    Progress,
    ignore_progress,
    predict_maps,
    write_box,
)
from cytoloop.inference.windows.sliding_window import read_mirrored
from cytoloop.io.pixels import MemoryPixels, Pixels


def predict_image_maps(
    name: str,
    pixels: Pixels,
    predictor: Predictor,
    storage: VolumeStorage,
    dtype: str = "uint8",
    progress: Progress = ignore_progress,
) -> ProbabilityMaps:
    """Return the maps of an image, plane by plane where a 2D model gets a stack.

    Parameters
    ----------
    name, pixels, predictor, storage, dtype, progress
        See `predict_maps`.
    """
    if not predictor.training.goes_by_plane(pixels.shape):
        return predict_maps(name, pixels, predictor, storage, dtype, progress)
    dtype = predictor.map_dtype(dtype)
    maps = {key: storage.create(key, pixels.shape, dtype) for key in predictor.maps}
    count = pixels.shape[0]
    for slab in plane_slabs(pixels.shape, storage.progress(predictor.maps[0])):
        found: list[ProbabilityMaps] = []
        for group in _predict_planes(name, list(_planes(pixels, slab)), predictor, dtype):
            found += group
            done = slab.start + len(found)
            progress(done / count, f"plane {done} of {count}")
        for key, volume in maps.items():
            volume[slab] = np.stack([np.asarray(one[key]) for one in found])
        for key in reversed(maps):  # the first map's progress counts: noted after all are written
            storage.record_progress(key, slab.stop)
    return maps


def _planes(pixels: Pixels, slab: slice) -> Iterator[Pixels]:
    """Yield the planes of a slab; several small ones are read at once."""
    if slab.stop - slab.start == 1:
        yield _Plane(pixels, slab.start)
        return
    whole = pixels.read((slab, *(slice(0, n) for n in pixels.shape[1:])))
    for number in range(whole.shape[1]):
        yield MemoryPixels(whole[:, number], pixels.spacing_um, pixels.channels)


def _predict_planes(
    name: str, planes: Sequence[Pixels], predictor: Predictor, dtype: str
) -> Iterator[list[ProbabilityMaps]]:
    """Yield the maps of one plane after the other, or of as many as a batch holds."""
    layout = predictor.layout(planes[0].shape)
    together = predictor.batch_size(layout) // layout.count()
    if together < 2 or len(predictor.networks) > 1:  # networks share no units between planes
        for plane in planes:
            yield [predict_maps(name, plane, predictor, VolumeStorage(), dtype)]
        return
    for start in range(0, len(planes), together):
        yield _predict_together(name, planes[start : start + together], predictor, layout, dtype)


def _predict_together(
    name: str, planes: Sequence[Pixels], predictor: Predictor, layout: WindowLayout, dtype: str
) -> list[ProbabilityMaps]:
    """Return the maps of planes whose windows are one batch."""
    found: list[ProbabilityMaps] = [
        {key: np.zeros(plane.shape, dtype) for key in predictor.maps} for plane in planes
    ]
    whole = tuple(slice(0, n) for n in layout.shape)
    corners = list(itertools.product(*layout.starts))
    windows, numbers, levels = [], [], None
    for number, plane in enumerate(planes):
        filtered, _ = predictor.filtered_pixels(name, plane)
        measured = predictor.measure_intensity(name, filtered)
        if measured is None:  # one grey level: its maps stay 0
            continue
        prepared, levels = predictor.prepared_pixels(filtered, measured)
        image = predictor.prepare(read_mirrored(prepared, layout, whole), levels)
        windows += [image[(slice(None), *_window(corner, layout))] for corner in corners]
        numbers.append(number)
    if levels is None:
        return found
    predicted = timed(NETWORK, predictor.predict)(np.stack(windows), levels)
    weight, total = layout.weight(), layout.total(whole)
    for place, number in enumerate(numbers):
        sums = np.zeros((len(predictor.maps), *layout.shape), np.float32)
        of_plane = predicted[place * len(corners) : (place + 1) * len(corners)]
        for corner, window_maps in zip(corners, of_plane, strict=True):
            sums[(slice(None), *_window(corner, layout))] += window_maps * weight
        for volume, values in zip(found[number].values(), sums, strict=True):
            write_box(volume, layout, whole, values / total)
    return found


def _window(corner: Sequence[int], layout: WindowLayout) -> tuple[slice, ...]:
    return tuple(slice(c, c + s) for c, s in zip(corner, layout.size, strict=True))


class _Plane(Pixels):
    """A plane of a stack, read box by box."""

    def __init__(self, stack: Pixels, number: int) -> None:
        self._stack, self._number = stack, number
        self.shape = stack.shape[1:]
        self.dtype, self.spacing_um = stack.dtype, stack.spacing_um
        self.channels = stack.channels

    def read(self, box: tuple[slice, ...]) -> np.ndarray:
        """Return the pixels of a box, (C, *box)."""
        return self._stack.read((slice(self._number, self._number + 1), *box))[:, 0]
