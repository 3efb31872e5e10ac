"""Images that stay on disk: napari reads the plane that it shows."""

from __future__ import annotations

import math
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.io.pixels import Pixels, open_pixels

LIMIT_BYTES = 1 << 30
"""Larger images are not read into memory as a whole."""
_KEPT = 8
"""Boxes that are kept in memory: the plane that is shown, and those before it."""


def open_image(path: Path, channel: int | str | None = None) -> list[Voxels]:
    """Return the channels ([Z,] Y, X) of an image: in memory, or on disk if it is large.

    Raises
    ------
    ImageError
        The image cannot be read.
    """
    pixels = open_pixels(path, channel)
    lazy = [LazyImage(pixels, number) for number in range(len(pixels.channels))]
    if sum(one.nbytes for one in lazy) > LIMIT_BYTES:
        return list(lazy)
    return list(pixels.read(tuple(slice(0, size) for size in pixels.shape)))


class LazyImage:
    """One channel of an image on disk, with the part of an array's interface that napari uses.

    Parameters
    ----------
    pixels : Pixels
        ([Z,] Y, X).
    channel : int
    """

    def __init__(self, pixels: Pixels, channel: int = 0) -> None:
        self._pixels, self._channel = pixels, channel
        self._boxes: OrderedDict[tuple[tuple[int, int], ...], np.ndarray] = OrderedDict()
        self.shape = tuple(pixels.shape)
        self.dtype = np.dtype(pixels.dtype)

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

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        """Return the voxels of an index of integers and slices; they are read from disk."""
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
        return self._read(tuple(ranges))[tuple(within)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return all voxels."""
        return np.asarray(self[...], dtype)

    def _read(self, ranges: tuple[tuple[int, int], ...]) -> np.ndarray:
        if ranges in self._boxes:
            self._boxes.move_to_end(ranges)
            return self._boxes[ranges]
        box = tuple(slice(*one) for one in ranges)
        found = self._pixels.read(box)[self._channel]
        if found.nbytes <= LIMIT_BYTES // _KEPT:
            self._boxes[ranges] = found
            while len(self._boxes) > _KEPT:
                self._boxes.popitem(last=False)
        return found


Voxels = np.ndarray | LazyImage
