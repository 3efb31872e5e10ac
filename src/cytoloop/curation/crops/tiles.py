"""Where an image is cut, and which crop an object belongs to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import EllipsisType
from typing import NamedTuple

import numpy as np

_MARGINS = (8, 64)
"""Smallest and largest margin of a crop, in pixels."""


class Box(NamedTuple):
    """A rectangle of pixels, ends not included."""

    y0: int
    x0: int
    y1: int
    x1: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def slices(self) -> tuple[EllipsisType, slice, slice]:
        """What indexes the last two axes of an image."""
        return ..., slice(self.y0, self.y1), slice(self.x0, self.x1)

    def holds(self, y: int, x: int) -> bool:
        """Tell whether a pixel is inside."""
        return self.y0 <= y < self.y1 and self.x0 <= x < self.x1

    def contains(self, other: Box) -> bool:
        """Tell whether another box is inside."""
        low = self.y0 <= other.y0 and self.x0 <= other.x0
        return low and self.y1 >= other.y1 and self.x1 >= other.x1

    def meets(self, other: Box) -> bool:
        """Tell whether two boxes share a pixel."""
        rows = self.y0 < other.y1 and other.y0 < self.y1
        return rows and self.x0 < other.x1 and other.x0 < self.x1


@dataclass(frozen=True)
class Crop:
    """A part of an image.

    Attributes
    ----------
    core : Box
        The cores of an image tile it: what lies in one belongs to this crop.
    box : Box
        The core with a margin: what is shown.
    owned : frozenset of int
        Objects that belong to this crop: their anchor is in its core.
    wide : frozenset of int
        Those of them that reach beyond `box`.
    """

    core: Box
    box: Box
    owned: frozenset[int]
    wide: frozenset[int]


def plan_crops(labels: np.ndarray, objects: int, min_size: int) -> list[Crop]:
    """Return the crops of an image, row by row.

    Parameters
    ----------
    labels : ndarray of unsigned integers
        (Z, Y, X); 0 is background.
    objects : int
        About so many objects lie in each; an image with up to half as many more stays whole.
    min_size : int
        Smallest edge of a core, in pixels.
    """
    numbers, slices, anchors = find_objects(labels)
    height, width = labels.shape[-2:]
    extents = [max(part.stop - part.start for part in where[1:]) for where in slices]
    margin = min(max([_MARGINS[0], *extents]), _MARGINS[1])
    count = 1 if len(numbers) <= 1.5 * objects else math.ceil(len(numbers) / objects)
    crops = []
    for core in _tiles(height, width, count, min_size):
        box = Box(
            max(core.y0 - margin, 0),
            max(core.x0 - margin, 0),
            min(core.y1 + margin, height),
            min(core.x1 + margin, width),
        )
        owned, wide = set(), set()
        for number, (_, y, x), anchor in zip(numbers, slices, anchors, strict=True):
            if core.holds(anchor[1], anchor[2]):
                owned.add(number)
                if not box.contains(Box(y.start, x.start, y.stop, x.stop)):
                    wide.add(number)
        crops.append(Crop(core, box, frozenset(owned), frozenset(wide)))
    return crops


def find_objects(
    labels: np.ndarray,
) -> tuple[list[int], list[tuple[slice, ...]], list[tuple[int, ...]]]:
    """Return number, bounding box and anchor of each object.

    Parameters
    ----------
    labels : ndarray of unsigned integers
        (Z, Y, X); 0 is background.
    """
    import fastremap
    from scipy import ndimage

    dense, names = fastremap.renumber(labels)
    back = {int(new): int(old) for old, new in names.items()}
    numbers, slices, anchors = [], [], []
    for number, where in enumerate(ndimage.find_objects(dense), start=1):
        inside = anchor_of(np.argwhere(dense[where] == number))
        numbers.append(back[number])
        slices.append(where)
        anchors.append(tuple(i + part.start for i, part in zip(inside, where, strict=True)))
    return numbers, slices, anchors


def anchor_of(voxels: np.ndarray) -> tuple[int, ...]:
    """Return the voxel of an object that is nearest to its centroid, of several the first.

    Parameters
    ----------
    voxels : ndarray of int
        (N, 3), in lexicographic order.
    """
    # whole numbers, so that an object has the same anchor wherever it is counted from
    offsets = (voxels - voxels[0]).astype(np.int64)
    distance = ((offsets * len(offsets) - offsets.sum(axis=0)).astype(np.float64) ** 2).sum(axis=1)
    return tuple(int(i) for i in voxels[int(np.argmin(distance))])


def _tiles(height: int, width: int, count: int, min_size: int) -> list[Box]:
    """Return about `count` boxes, nearly square, that tile a rectangle."""
    side = math.sqrt(height * width / count)
    rows = min(max(round(height / side), 1), max(height // min_size, 1))
    columns = min(math.ceil(count / rows), max(width // min_size, 1))
    ys = [height * i // rows for i in range(rows + 1)]
    xs = [width * i // columns for i in range(columns + 1)]
    return [Box(ys[i], xs[j], ys[i + 1], xs[j + 1]) for i in range(rows) for j in range(columns)]
