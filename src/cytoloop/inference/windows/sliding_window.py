"""Window by window over an image of any size: read, predict, blend, write, side by side.

Windows come in rows along the first axis. A row is added to a slab as thick as a window; the planes
that no later row reaches are done, and are handed on. What is in memory is a slab, not the image.
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
"""Memory of a slab, about; larger planes are predicted in parts."""

Prepare = Callable[[np.ndarray], np.ndarray]
"""Grey levels (C, *planes) to what the network takes, float32."""

Network = Callable[[np.ndarray], np.ndarray]
"""Prepared windows (B, C, *window) to maps (B, K, *window), float32 in [0, 1]."""


def tile_image(
    windows: WindowLayout, channels: int, maps: int, most: float = SLAB_BYTES
) -> list[Box]:
    """Return boxes that tile the image (as the windows see it), each with slabs that fit.

    Parameters
    ----------
    windows : Windows
    channels, maps : int
        Of the input and of the output.
    most : float
        Bytes of a slab.
    """
    shape = windows.shape
    a_voxel = 4 * maps + 12 * channels  # sums; what is read, as it is and ahead
    most_area = max(most / (a_voxel * windows.size[0]), math.prod(windows.size[1:]))
    sides = list(shape[1:])
    for axis in range(len(sides)):
        rest = math.prod(sides) // sides[axis]
        if rest * sides[axis] > most_area:
            parts = math.ceil(sides[axis] / max(most_area // rest, 4 * windows.size[axis + 1]))
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
    windows: WindowLayout,
    prepare: Prepare,
    network: Network,
    box: Box,
    maps: int,
    batch_size: int,
) -> Iterator[tuple[Box, np.ndarray]]:
    """Predict a box of an image; yield its planes as they are done.

    Every window that reaches into the box is used, so that boxes side by side give the same maps
    as the whole image.

    Parameters
    ----------
    pixels : Pixels
    windows : Windows
        Of the image.
    prepare, network : callable
        Planes are prepared once, while the network works on those before.
    box : tuple of slice
        In the coordinates of the windows: those of the image, mirrored where it is small.
    maps : int
        K, of the network's output.
    batch_size : int
        Windows at a time.

    Yields
    ------
    box : tuple of slice
        Which planes of which part of the image.
    maps : ndarray of float32
        (K, *box), in [0, 1].
    """
    first = box[0]
    rows = windows.touching(0, first)
    columns = list(itertools.product(*(windows.touching(a, s) for a, s in enumerate(box[1:], 1))))
    hull = tuple(
        slice(min(starts), max(starts) + size)
        for starts, size in zip(zip(*columns, strict=True), windows.size[1:], strict=True)
    )
    thick = windows.size[0]
    weight = windows.weight()
    sums = np.zeros((maps, thick, *(s.stop - s.start for s in box[1:])), np.float32)
    with ThreadPoolExecutor(1, "read") as ahead:
        read = _slab_reader(pixels, windows, hull, prepare)
        coming = ahead.submit(read, rows[0])
        for number, row in enumerate(rows):
            slab = coming.result()
            if number + 1 < len(rows):
                coming = ahead.submit(read, rows[number + 1])
            for some in _batches(columns, batch_size):
                stacked = np.stack([slab[_part(slab, c, hull, windows)] for c in some])
                found = network(stacked)
                for corner, one in zip(some, found, strict=True):
                    inside, into = _overlap(corner, windows.size[1:], box[1:])
                    every = (slice(None), slice(None))
                    sums[(*every, *into)] += (one * weight)[(*every, *inside)]
            following = rows[number + 1] if number + 1 < len(rows) else windows.shape[0]
            done = slice(max(row, first.start), min(following, first.stop, row + thick))
            if done.stop > done.start:
                where = (done, *box[1:])
                planes = sums[:, done.start - row : done.stop - row]
                yield where, planes / windows.total(where)
            moved = following - row
            if moved < thick:
                sums[:, : thick - moved] = sums[:, moved:].copy()
                sums[:, thick - moved :] = 0


def _slab_reader(
    pixels: Pixels, windows: WindowLayout, hull: Sequence[slice], prepare: Prepare
) -> Callable[[int], np.ndarray]:
    """Return a function that reads and prepares the planes of a row of windows, each once."""
    thick = windows.size[0]
    held: list[tuple[int, np.ndarray]] = []

    def read(row: int) -> np.ndarray:
        start, kept = row, None
        if held and held[0][0] <= row < held[0][0] + thick:
            kept = held[0][1][:, row - held[0][0] :]
            start = row + kept.shape[1]
        new = prepare(_mirrored(pixels, windows, (slice(start, row + thick), *hull)))
        slab = new if kept is None else np.concatenate([kept, new], axis=1)
        held[:] = [(row, slab)]
        return slab

    return read


def _mirrored(pixels: Pixels, windows: WindowLayout, box: Sequence[slice]) -> np.ndarray:
    """Return a box of the image, mirrored at its sides where it reaches beyond them."""
    inner, picks = [], []
    for side, before, length in zip(box, windows.before, pixels.shape, strict=True):
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


def _part(
    slab: np.ndarray, corner: Sequence[int], hull: Sequence[slice], windows: WindowLayout
) -> tuple[slice, ...]:
    """Return where a window lies in a slab."""
    sides = zip(corner, hull, windows.size[1:], strict=True)
    return (slice(None), slice(None), *(slice(c - h.start, c - h.start + s) for c, h, s in sides))


def _overlap(
    corner: Sequence[int], size: Sequence[int], box: Sequence[slice]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return what a window and a box have in common: in the window, and in the box."""
    inside, into = [], []
    for c, s, b in zip(corner, size, box, strict=True):
        low, high = max(c, b.start), min(c + s, b.stop)
        inside.append(slice(low - c, high - c))
        into.append(slice(low - b.start, high - b.start))
    return tuple(inside), tuple(into)
