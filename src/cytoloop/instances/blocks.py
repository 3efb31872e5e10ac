"""Blocks of a volume: cores that tile it, and windows around them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Box = tuple[slice, ...]
BLOCK_VOXELS = 2**24
"""Voxels of a block, where no size is given: about 1 GiB is needed for one of them."""


class Volume(Protocol):
    """An array in memory or on disk: NumPy's, or Zarr's."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its axes."""

    @property
    def dtype(self) -> Any:
        """Of its values."""

    def __getitem__(self, key: Any) -> Any:
        """Return a box of it."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Write a box of it."""


@dataclass(frozen=True)
class Blocks:
    """Boxes that tile a volume.

    Attributes
    ----------
    shape : tuple of int
        Of the volume.
    size : tuple of int
        Of a block; those at the end may be smaller.
    """

    shape: tuple[int, ...]
    size: tuple[int, ...]

    @classmethod
    def for_shape(cls, shape: Sequence[int], most_voxels: int) -> Blocks:
        """Return blocks of about so many voxels: whole planes first, then parts of planes."""
        size = [int(n) for n in shape]
        for axis in range(len(size)):
            others = int(np.prod(size[:axis] + size[axis + 1 :]))
            size[axis] = max(min(size[axis], most_voxels // max(others, 1)), min(size[axis], 64))
            if np.prod(size) <= most_voxels:
                break
        return cls(tuple(int(n) for n in shape), tuple(size))

    def __len__(self) -> int:
        return int(np.prod([-(-n // s) for n, s in zip(self.shape, self.size, strict=True)]))

    def __iter__(self) -> Iterator[Box]:
        starts = [range(0, n, s) for n, s in zip(self.shape, self.size, strict=True)]
        for corner in itertools.product(*starts):
            yield tuple(
                slice(c, min(c + s, n))
                for c, s, n in zip(corner, self.size, self.shape, strict=True)
            )

    def number(self, points: np.ndarray) -> np.ndarray:
        """Return which block each point is in: (N, ndim) to (N,)."""
        counts = [-(-n // s) for n, s in zip(self.shape, self.size, strict=True)]
        return np.ravel_multi_index(tuple((points // np.array(self.size)).T), counts)


def grown(box: Box, halo: Sequence[int], shape: Sequence[int]) -> Box:
    """Return a box grown by a halo, within the volume."""
    return tuple(
        slice(max(s.start - h, 0), min(s.stop + h, n))
        for s, h, n in zip(box, halo, shape, strict=True)
    )


def within(box: Box, window: Box) -> Box:
    """Return where a box lies in a window that holds it."""
    return tuple(
        slice(s.start - w.start, s.stop - w.start) for s, w in zip(box, window, strict=True)
    )


def extent(box: Box) -> tuple[int, ...]:
    """Return the shape of a box."""
    return tuple(s.stop - s.start for s in box)
