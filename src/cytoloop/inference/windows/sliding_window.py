"""Sliding-window inference over an image of any size: read, predict and blend at the same time.

Windows form rows along the first axis. Each row is added to a slab as thick as a window. Planes
that no later row reaches are finished and yielded. A slab is in memory, never the whole image.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from cytoloop.inference.windows.layout import WindowLayout
from cytoloop.instances.blocks import Box
from cytoloop.io.pixels import Pixels

SLAB_BYTES = 2**29
"""Approximate memory of a slab; larger planes are predicted in parts."""

Prepare = Callable[[np.ndarray], np.ndarray]
"""Grey levels (C, *planes) to the network's input, float32."""

Network = Callable[[np.ndarray], np.ndarray]
"""Prepared windows (B, C, *window) to maps (B, K, *window), float32 in [0, 1]."""


def tile_image(
    layout: WindowLayout, channels: int, maps: int, max_bytes: float = SLAB_BYTES
) -> list[Box]:
    """Return boxes that tile the (mirrored) image, each with slabs that fit into memory.

    Parameters
    ----------
    layout : WindowLayout
    channels, maps : int
        Of the input and of the output.
    max_bytes : float
        Of a slab.
    """
    shape = layout.shape
    voxel_bytes = 4 * maps + 12 * channels  # sums; input as read, prepared, and read ahead
    max_area = max(max_bytes / (voxel_bytes * layout.size[0]), math.prod(layout.size[1:]))
    sides = list(shape[1:])
    for axis in range(len(sides)):
        rest = math.prod(sides) // sides[axis]
        if rest * sides[axis] > max_area:
            parts = math.ceil(sides[axis] / max(max_area // rest, 4 * layout.size[axis + 1]))
            sides[axis] = math.ceil(sides[axis] / parts / 64) * 64
    starts = [range(0, n, s) for n, s in zip(shape[1:], sides, strict=True)]
    return [
        (
            slice(0, shape[0]),
            *(slice(c, min(c + s, n)) for c, s, n in zip(corner, sides, shape[1:], strict=True)),
        )
        for corner in itertools.product(*starts)
    ]


def sliding_window_inference(
    pixels: Pixels,
    layout: WindowLayout,
    prepare: Prepare,
    network: Network,
    box: Box,
    maps: int,
    batch_size: int,
) -> Iterator[tuple[Box, np.ndarray]]:
    """Predict a box of an image; yield its planes as soon as they are finished.

    Every window that reaches into the box is used, so that neighbouring boxes give the same maps
    as the whole image.

    Parameters
    ----------
    pixels : Pixels
    layout : WindowLayout
        Of the image.
    prepare, network : callable
        The next planes are read and prepared while the network works.
    box : tuple of slice
        In coordinates of the layout (those of the mirrored image).
    maps : int
        K, of the network's output.
    batch_size : int
        Windows per batch.

    Yields
    ------
    box : tuple of slice
        Planes of the box, in coordinates of the layout.
    maps : ndarray of float32
        (K, *box), in [0, 1].
    """
    first = box[0]
    rows = layout.touching(0, first)
    columns = list(itertools.product(*(layout.touching(a, s) for a, s in enumerate(box[1:], 1))))
    hull = tuple(
        slice(min(starts), max(starts) + size)
        for starts, size in zip(zip(*columns, strict=True), layout.size[1:], strict=True)
    )
    thickness = layout.size[0]
    weight = layout.weight()
    sums = np.zeros((maps, thickness, *(s.stop - s.start for s in box[1:])), np.float32)
    with ThreadPoolExecutor(1, "read") as reader:
        read = _slab_reader(pixels, layout, hull, prepare)
        next_slab = reader.submit(read, rows[0])
        for number, row in enumerate(rows):
            slab = next_slab.result()
            if number + 1 < len(rows):
                next_slab = reader.submit(read, rows[number + 1])
            for corners in _batches(columns, batch_size):
                windows = np.stack([slab[_window(c, hull, layout)] for c in corners])
                predicted = network(windows)
                for corner, window_maps in zip(corners, predicted, strict=True):
                    in_window, in_box = _intersection(corner, layout.size[1:], box[1:])
                    every = (slice(None), slice(None))
                    sums[(*every, *in_box)] += (window_maps * weight)[(*every, *in_window)]
            next_row = rows[number + 1] if number + 1 < len(rows) else layout.shape[0]
            done = slice(max(row, first.start), min(next_row, first.stop, row + thickness))
            if done.stop > done.start:
                where = (done, *box[1:])
                planes = sums[:, done.start - row : done.stop - row]
                yield where, planes / layout.total(where)
            shift = next_row - row
            if shift < thickness:
                sums[:, : thickness - shift] = sums[:, shift:].copy()
                sums[:, thickness - shift :] = 0


def _slab_reader(
    pixels: Pixels, layout: WindowLayout, hull: Sequence[slice], prepare: Prepare
) -> Callable[[int], np.ndarray]:
    """Return a function that reads and prepares the slab of a row; each plane is read once."""
    thickness = layout.size[0]
    previous: list[tuple[int, np.ndarray]] = []

    def read(row: int) -> np.ndarray:
        start, kept = row, None
        if previous and previous[0][0] <= row < previous[0][0] + thickness:
            kept = previous[0][1][:, row - previous[0][0] :]
            start = row + kept.shape[1]
        new = prepare(read_mirrored(pixels, layout, (slice(start, row + thickness), *hull)))
        slab = new if kept is None else np.concatenate([kept, new], axis=1)
        previous[:] = [(row, slab)]
        return slab

    return read


def read_mirrored(pixels: Pixels, layout: WindowLayout, box: Sequence[slice]) -> np.ndarray:
    """Return a box (C, *box) of the image, mirrored where it reaches beyond the sides."""
    inner, picks = [], []
    for side, before, length in zip(box, layout.before, pixels.shape, strict=True):
        place = np.arange(side.start - before, side.stop - before) % (2 * length)
        place = np.where(place < length, place, 2 * length - 1 - place)
        inner.append(slice(int(place.min()), int(place.max()) + 1))
        picks.append(place - place.min())
    data = pixels.read(tuple(inner))
    for axis, pick in enumerate(picks, 1):
        if not np.array_equal(pick, np.arange(data.shape[axis])):
            data = data.take(pick, axis)
    return data


def _batches(items: Sequence[tuple[int, ...]], size: int) -> Iterator[Sequence[tuple[int, ...]]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _window(
    corner: Sequence[int], hull: Sequence[slice], layout: WindowLayout
) -> tuple[slice, ...]:
    """Return where a window lies in a slab (C, Z, ...)."""
    sides = zip(corner, hull, layout.size[1:], strict=True)
    return (slice(None), slice(None), *(slice(c - h.start, c - h.start + s) for c, h, s in sides))


def _intersection(
    corner: Sequence[int], size: Sequence[int], box: Sequence[slice]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the intersection of a window and a box: in the window, and in the box."""
    in_window, in_box = [], []
    for c, s, b in zip(corner, size, box, strict=True):
        low, high = max(c, b.start), min(c + s, b.stop)
        in_window.append(slice(low - c, high - c))
        in_box.append(slice(low - b.start, high - b.start))
    return tuple(in_window), tuple(in_box)
