"""Blocks of a volume: boxes that tile it, and the same boxes with a halo."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Box = tuple[slice, ...]
BLOCK_VOXELS = 2**24
"""Voxels of a block by default: a block takes about 1 GiB of memory."""


class Volume(Protocol):
    """An array in memory or on disk, for example of NumPy or Zarr."""

    @property
    def shape(self) -> tuple[int, ...]:
        """([Z,] Y, X)."""

    @property
    def dtype(self) -> Any:
        """Data type of the values."""

    def __getitem__(self, key: Any) -> Any:
        """Return the values in a box."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Write the values in a box."""


def plane_of(volume: Volume, number: int) -> np.ndarray:
    """Return a plane of a volume (Z, Y, X), (Y, X)."""
    box = (slice(number, number + 1), *(slice(0, n) for n in volume.shape[1:]))
    return np.asarray(volume[box])[0]


NewVolume = Callable[[str, tuple[int, ...], Any, tuple[int, ...]], Volume]
"""Function that returns an empty volume, given a name, a shape, a dtype and a block size."""


def in_memory(name: str, shape: tuple[int, ...], dtype: Any, block: tuple[int, ...]) -> np.ndarray:
    """Return an empty volume in memory, see `NewVolume`."""
    return np.zeros(shape, dtype)


@dataclass(frozen=True)
class Blocks:
    """Boxes that tile a volume, in C order.

    Attributes
    ----------
    shape : tuple of int
        Shape of the volume.
    size : tuple of int
        Shape of a block; the last block along an axis may be smaller.
    """

    shape: tuple[int, ...]
    size: tuple[int, ...]

    @classmethod
    def for_shape(cls, shape: Sequence[int], max_voxels: int) -> Blocks:
        """Return blocks of at most about `max_voxels`.

        The first axis is cut first, so that a block holds whole planes where possible. No side is
        cut below 64 voxels.
        """
        size = [int(n) for n in shape]
        for axis in range(len(size)):
            others = int(np.prod(size[:axis] + size[axis + 1 :]))
            size[axis] = max(min(size[axis], max_voxels // max(others, 1)), min(size[axis], 64))
            if np.prod(size) <= max_voxels:
                break
        return cls(tuple(int(n) for n in shape), tuple(size))

    @property
    def _counts(self) -> list[int]:
        """Number of blocks along each axis."""
        return [-(-n // s) for n, s in zip(self.shape, self.size, strict=True)]

    def __len__(self) -> int:
        return int(np.prod(self._counts))

    def __iter__(self) -> Iterator[Box]:
        starts = [range(0, n, s) for n, s in zip(self.shape, self.size, strict=True)]
        for corner in itertools.product(*starts):
            yield tuple(
                slice(c, min(c + s, n))
                for c, s, n in zip(corner, self.size, self.shape, strict=True)
            )

    def index_of(self, points: np.ndarray) -> np.ndarray:
        """Return the index of the block that holds each point: (N, ndim) to (N,)."""
        return np.ravel_multi_index(tuple((points // np.array(self.size)).T), self._counts)


def add_halo(box: Box, halo: Sequence[int], shape: Sequence[int]) -> Box:
    """Return a box enlarged by a halo on both sides, cropped to the volume."""
    return tuple(
        slice(max(s.start - h, 0), min(s.stop + h, n))
        for s, h, n in zip(box, halo, shape, strict=True)
    )


def relative_to(box: Box, window: Box) -> Box:
    """Return a box in the coordinates of a window that contains it."""
    return tuple(
        slice(s.start - w.start, s.stop - w.start) for s, w in zip(box, window, strict=True)
    )


def box_shape(box: Box) -> tuple[int, ...]:
    """Return the shape of a box."""
    return tuple(s.stop - s.start for s in box)
