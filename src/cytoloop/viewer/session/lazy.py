"""Images that stay on disk: napari reads the plane, or the part of it, that it shows."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.io.pixels import Pixels, open_pixels

LIMIT_BYTES = 1 << 30
"""Larger images are not read into memory as a whole."""
LIMIT_PLANE = 1 << 27
"""Nor are images with planes of more pixels: napari makes several copies of what it shows."""
WIDE_PIXELS = 1 << 23
"""A plane of more pixels is shown reduced until the user looks closer."""
_OVERVIEW_SIDE = 2048
"""Longest side of a reduced plane."""
_STRIP_VALUES = 1 << 24
"""So many pixels are read at once to reduce a plane."""
_KEPT = 8
"""Boxes that are kept in memory: the plane that is shown, and those before it."""

Box = tuple[slice, ...]
ReadBox = Callable[[Box], np.ndarray]


def open_image(path: Path, channel: int | str | None = None) -> list[Voxels]:
    """Return the channels ([Z,] Y, X) of an image: in memory, or on disk if it is large.

    Raises
    ------
    ImageError
        The image cannot be read.
    """
    pixels = open_pixels(path, channel)
    lazy = lazy_channels(pixels)
    if is_too_large(pixels.shape, sum(one.nbytes for one in lazy)):
        return list(lazy)
    return list(pixels.read(tuple(slice(0, size) for size in pixels.shape)))


def is_too_large(shape: Sequence[int], nbytes: int) -> bool:
    """Return whether an image ([Z,] Y, X) stays on disk."""
    return nbytes > LIMIT_BYTES or math.prod(shape[-2:]) > LIMIT_PLANE


def lazy_channels(pixels: Pixels) -> list[LazyImage]:
    """Return the channels of an image on disk."""

    def read(number: int) -> ReadBox:
        return lambda box: pixels.read(box)[number]

    return [LazyImage(pixels.shape, pixels.dtype, read(n)) for n in range(len(pixels.channels))]


def lazy_zeros(shape: Sequence[int], dtype: Any) -> LazyImage:
    """Return an image of zeros."""
    return LazyImage(shape, dtype, lambda box: np.zeros([b.stop - b.start for b in box], dtype))


class LazyImage:
    """Voxels that are read or computed box by box, with what napari uses of an array's interface.

    Parameters
    ----------
    shape : sequence of int
        ([Z,] Y, X).
    dtype : dtype
    read : callable
        Returns the voxels of a box of slices with start and stop.
    """

    def __init__(self, shape: Sequence[int], dtype: Any, read: ReadBox) -> None:
        self._read_box = read
        self._boxes: OrderedDict[tuple[tuple[int, int], ...], np.ndarray] = OrderedDict()
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all voxels."""
        return self.size * self.dtype.itemsize

    @cached_property
    def levels(self) -> list[LazyImage]:
        """Levels of detail: the image itself, and wide planes also reduced in Y and X."""
        step = math.ceil(max(self.shape[-2:]) / _OVERVIEW_SIDE)
        if math.prod(self.shape[-2:]) <= WIDE_PIXELS or step < 2:
            return [self]
        shape = (*self.shape[:-2], *(math.ceil(size / step) for size in self.shape[-2:]))
        return [self, LazyImage(shape, self.dtype, lambda box: self._reduced(box, step))]

    def as_type(self, dtype: Any) -> LazyImage:
        """Return the same voxels with another type; what was read is not read again."""
        found = LazyImage(self.shape, dtype, lambda box: np.asarray(self[box], dtype))
        found.levels = [found, *(level.as_type(dtype) for level in self.levels[1:])]
        return found

    def middle_plane(self) -> np.ndarray:
        """Return the middle plane (Y, X), reduced if it is wide: enough for the contrast."""
        smallest = self.levels[-1]
        return smallest[smallest.shape[0] // 2] if self.ndim == 3 else smallest[...]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        """Return the voxels of an index of integers and slices; they are read from disk.

        A part of several planes stays on disk, too: napari cuts it out before it takes a plane.
        """
        parts = index if isinstance(index, tuple) else (index,)
        if Ellipsis in [part for part in parts if part is Ellipsis]:
            place = next(n for n, part in enumerate(parts) if part is Ellipsis)
            missing = self.ndim - len(parts) + 1
            parts = (*parts[:place], *[slice(None)] * missing, *parts[place + 1 :])
        parts = (*parts, *[slice(None)] * (self.ndim - len(parts)))
        ranges: list[tuple[int, int]] = []
        within: list[int | slice] = []
        for part, size in zip(parts, self.shape, strict=True):
            if isinstance(part, slice):
                first, last, step = part.indices(size)
                ranges.append((first, max(last, first)))
                within.append(slice(None, None, step))
            else:
                number = int(part) % size
                ranges.append((number, number + 1))
                within.append(0)
        is_part = all(isinstance(one, slice) and one.step == 1 for one in within)
        if is_part and ranges[0][1] - ranges[0][0] > 1 and self.ndim == 3:
            return self._part(ranges)
        return self._read(tuple(ranges))[tuple(within)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return all voxels."""
        return np.asarray(self._read(tuple((0, size) for size in self.shape)), dtype)

    def _part(self, ranges: Sequence[tuple[int, int]]) -> LazyImage:
        """Return a part as an image of its own, which reads by way of this one."""

        def read(box: Box) -> np.ndarray:
            pairs = zip(box, ranges, strict=True)
            return self._read(tuple((one.start + n, one.stop + n) for one, (n, _) in pairs))

        return LazyImage([last - first for first, last in ranges], self.dtype, read)

    def _read(self, ranges: tuple[tuple[int, int], ...]) -> np.ndarray:
        if ranges in self._boxes:
            self._boxes.move_to_end(ranges)
            return self._boxes[ranges]
        found = self._read_box(tuple(slice(*one) for one in ranges))
        if found.nbytes <= LIMIT_BYTES // _KEPT:
            self._boxes[ranges] = found
            while len(self._boxes) > _KEPT or self._kept_bytes() > LIMIT_BYTES // _KEPT:
                self._boxes.popitem(last=False)
        return found

    def _kept_bytes(self) -> int:
        return sum(box.nbytes for box in self._boxes.values())

    def _reduced(self, box: Box, step: int) -> np.ndarray:
        """Return each `step`-th voxel of Y and X in a box of the reduced image."""
        *planes, rows, columns = box
        height, width = self.shape[-2:]
        wide = slice(columns.start * step, min(columns.stop * step, width))
        depth = math.prod(plane.stop - plane.start for plane in planes)
        strip = max(_STRIP_VALUES // max(depth * (wide.stop - wide.start) * step, 1), 1)
        parts = []
        for first in range(rows.start, rows.stop, strip):
            last = min(first + strip, rows.stop)
            high = slice(first * step, min(last * step, height))
            part = self._read_box((*planes, high, wide))
            parts.append(part[..., ::step, ::step].copy())  # a view would keep the strip
        return np.concatenate(parts, axis=-2)


Voxels = np.ndarray | LazyImage


def as_uint8(mask: Voxels) -> Voxels:
    """Return a mask as labels."""
    return mask.as_type(np.uint8) if isinstance(mask, LazyImage) else mask.view(np.uint8)
