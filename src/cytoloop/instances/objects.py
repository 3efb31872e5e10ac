"""Measurements of objects: sums over their voxels, added up block by block, and their table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cytoloop.instances.blocks import Box
from cytoloop.io.atomic import replacing


class ObjectMeasurements:
    """Sums over the voxels of each object.

    Row i of every array is object i; row 0 is background and stays empty.

    Parameters
    ----------
    count : int
        Number of objects; their labels are 1..count.
    shape : sequence of int
        Shape of the volume.

    Attributes
    ----------
    voxels : ndarray of int64
        (count + 1,): number of voxels.
    coordinates : ndarray of float64
        (count + 1, ndim): sums of the coordinates.
    probability : ndarray of float64
        (count + 1,): sums of the probability.
    first, last : ndarray of int64
        (count + 1, ndim): bounding box, both ends included.
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
        """Add the voxels of a block.

        Parameters
        ----------
        labels : ndarray of integers
            ([Z,] Y, X).
        probability : ndarray of float32
            Same shape, 0..1.
        box : tuple of slice
            Position of the block in the volume.
        """
        coordinates = np.nonzero(labels)
        if not len(coordinates[0]):
            return
        objects = labels[coordinates]
        size = len(self.voxels)
        self.voxels += np.bincount(objects, minlength=size)
        self.probability += np.bincount(objects, probability[coordinates], size)
        for axis, (local, side) in enumerate(zip(coordinates, box, strict=True)):
            along = local + side.start
            self.coordinates[:, axis] += np.bincount(objects, along, size)
            np.minimum.at(self.first[:, axis], objects, along)
            np.maximum.at(self.last[:, axis], objects, along)

    def touches_border(self) -> np.ndarray:
        """Return the axes along which each object touches the border, (count + 1, ndim) bool."""
        return (self.first == 0) | (self.last == np.array(self.shape) - 1)

    def bounding_box(self, number: int) -> Box:
        """Return the bounding box of an object."""
        pairs = zip(self.first[number], self.last[number], strict=True)
        return tuple(slice(int(a), int(b) + 1) for a, b in pairs)

    def select(self, kept: np.ndarray) -> None:
        """Keep some of the objects and renumber them 1..N.

        Parameters
        ----------
        kept : ndarray of bool
            (count + 1,); the first value (background) must be True.
        """
        for name in ("voxels", "coordinates", "probability", "first", "last"):
            setattr(self, name, getattr(self, name)[kept])

    def table(self, spacing_um: Sequence[float] | None) -> dict[str, np.ndarray]:
        """Return the table of objects: one column per measurement, one value per object.

        Columns are ``label``; the centroid ``z``, ``y``, ``x`` in voxels from 0; ``voxels``;
        ``um3`` (2D: ``um2``) if the voxel size is known; the bounding box ``z_min`` to ``x_max`` in
        voxels, both ends included; the mean ``probability``; and ``touches_border``, 1 if the
        object touches any side of the image, including the first and last plane of a stack.
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
        table["touches_border"] = self.touches_border()[1:].any(axis=1).astype(int)
        return table


class PlaneMeasurements(ObjectMeasurements):
    """Measurements of the 2D objects of a stack, each of which lies in one plane."""

    def touches_border(self) -> np.ndarray:
        """Return the axes along which each object touches the border; never Z."""
        touches = super().touches_border()
        touches[:, 0] = False
        return touches

    def table(self, spacing_um: Sequence[float] | None) -> dict[str, np.ndarray]:
        """Return the table of objects: that of 2D objects, with the ``plane`` of each, from 0."""
        table = super().table(None)
        area = table["voxels"] * (1.0 if spacing_um is None else float(np.prod(spacing_um[-2:])))
        found: dict[str, np.ndarray] = {}
        for name, column in table.items():
            if name == "z":
                found["plane"] = self.first[1:, 0]
            elif not name.startswith("z_"):
                found[name] = column
            if name == "voxels" and spacing_um is not None:
                found["um2"] = np.round(area, 4)
        return found


def write_table(path: str | Path, table: Mapping[str, np.ndarray]) -> None:
    """Write a table of objects as CSV, atomically."""
    lines = [",".join(table)]
    lines += [",".join(map(str, row)) for row in zip(*table.values(), strict=True)]
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
