"""The table of objects: sums over their voxels, added up block by block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cytoloop.instances.blocks import Box
from cytoloop.io.atomic import replacing


class ObjectMeasurements:
    """What adds up over the voxels of each object.

    Parameters
    ----------
    count : int
        Objects; their numbers are 1..count.
    shape : sequence of int
        Of the volume.

    Attributes
    ----------
    voxels : ndarray of int64
        (count + 1,).
    coordinates : ndarray of float64
        (count + 1, ndim), sums.
    probability : ndarray of float64
        (count + 1,), sums.
    first, last : ndarray of int64
        (count + 1, ndim): bounding box, ends included.
    """

    def __init__(self, count: int, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)
        ndim = len(self.shape)
        self.voxels = np.zeros(count + 1, np.int64)
        self.coordinates = np.zeros((count + 1, ndim))
        self.probability = np.zeros(count + 1)
        self.first = np.full((count + 1, ndim), np.iinfo(np.int64).max)
        self.last = np.full((count + 1, ndim), -1, np.int64)

    def add(self, labels: np.ndarray, probability: np.ndarray, box: Box) -> None:
        """Add a block.

        Parameters
        ----------
        labels : ndarray of integers
            ([Z,] Y, X).
        probability : ndarray of float32
            Same shape, 0..1.
        box : tuple of slice
            Where it lies in the volume.
        """
        places = np.nonzero(labels)
        if not len(places[0]):
            return
        own = labels[places]
        size = len(self.voxels)
        self.voxels += np.bincount(own, minlength=size)
        self.probability += np.bincount(own, probability[places], size)
        for axis, (local, side) in enumerate(zip(places, box, strict=True)):
            along = local + side.start
            self.coordinates[:, axis] += np.bincount(own, along, size)
            np.minimum.at(self.first[:, axis], own, along)
            np.maximum.at(self.last[:, axis], own, along)

    def touching(self) -> np.ndarray:
        """Return which sides each object touches, (count + 1, ndim) bool."""
        return (self.first == 0) | (self.last == np.array(self.shape) - 1)

    def box(self, number: int) -> Box:
        """Return the bounding box of an object."""
        pairs = zip(self.first[number], self.last[number], strict=True)
        return tuple(slice(int(a), int(b) + 1) for a, b in pairs)

    def keep(self, kept: np.ndarray) -> None:
        """Leave out objects; the rest moves up.

        Parameters
        ----------
        kept : ndarray of bool
            (count + 1,); the first one (background) stays.
        """
        for name in ("voxels", "coordinates", "probability", "first", "last"):
            setattr(self, name, getattr(self, name)[kept])

    def table(self, spacing_um: Sequence[float] | None) -> dict[str, np.ndarray]:
        """Return a column for each measure, a value for each object.

        ``label``; ``z``, ``y``, ``x``: centroid in voxels from 0; ``voxels``; ``um3`` (``um2`` in
        2D) where the voxel size is known; ``z_min`` to ``x_max``: bounding box in voxels, ends
        included; ``probability``: its mean; ``touches_border``: 1 where it touches a side of the
        image (in stacks also the first and last plane).
        """
        axes = "zyx"[-len(self.shape) :]
        voxels = self.voxels[1:]
        table: dict[str, np.ndarray] = {"label": np.arange(1, len(voxels) + 1)}
        for axis, name in enumerate(axes):
            table[name] = np.round(self.coordinates[1:, axis] / np.maximum(voxels, 1), 3)
        table["voxels"] = voxels
        if spacing_um is not None:
            unit = float(np.prod(spacing_um[-len(axes) :]))
            table[f"um{len(axes)}"] = np.round(voxels * unit, 4)
        for axis, name in enumerate(axes):
            table[f"{name}_min"] = self.first[1:, axis]
            table[f"{name}_max"] = self.last[1:, axis]
        table["probability"] = np.round(self.probability[1:] / np.maximum(voxels, 1), 4)
        table["touches_border"] = self.touching()[1:].any(axis=1).astype(int)
        return table


def write_table(path: str | Path, table: Mapping[str, np.ndarray]) -> None:
    """Write a table of objects as CSV, whole or not at all."""
    lines = [",".join(table)]
    lines += [",".join(map(str, row)) for row in zip(*table.values(), strict=True)]
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
