"""Division of an image into crops, and the crop that each object belongs to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import EllipsisType
from typing import NamedTuple

import numpy as np

_MARGINS = (8, 64)
"""Smallest and largest margin of a crop, in pixels."""


class Box(NamedTuple):
    """A rectangle of pixels; `y1` and `x1` are outside."""

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
        """Index of the rectangle in an array (..., Y, X)."""
        return ..., slice(self.y0, self.y1), slice(self.x0, self.x1)

    def contains_pixel(self, y: int, x: int) -> bool:
        """Return whether a pixel is inside."""
        return self.y0 <= y < self.y1 and self.x0 <= x < self.x1

    def contains(self, other: Box) -> bool:
        """Return whether another box is inside."""
        low = self.y0 <= other.y0 and self.x0 <= other.x0
        return low and self.y1 >= other.y1 and self.x1 >= other.x1

    def overlaps(self, other: Box) -> bool:
        """Return whether two boxes share a pixel."""
        rows = self.y0 < other.y1 and other.y0 < self.y1
        return rows and self.x0 < other.x1 and other.x0 < self.x1


@dataclass(frozen=True)
class Crop:
    """A part of an image.

    Attributes
    ----------
    core : Box
        The cores of an image tile it. An object belongs to the crop whose core contains its
        anchor, see `find_anchor`.
    box : Box
        The core with a margin: the part that is shown.
    owned : frozenset of int
        Objects that belong to this crop.
    wide : frozenset of int
        Owned objects that reach beyond `box`.
    """

    core: Box
    box: Box
    owned: frozenset[int]
    wide: frozenset[int]


def plan_crops(labels: np.ndarray, objects_per_crop: int, min_crop_size: int) -> list[Crop]:
    """Return the crops of an image, row by row.

    Parameters
    ----------
    labels : ndarray of unsigned integers
        (Z, Y, X); 0 is background.
    objects_per_crop : int
        Mean number of objects per crop. An image with up to 1.5 times as many is one crop.
    min_crop_size : int
        Smallest side of a core, in pixels.
    """
    numbers, slices, anchors = find_objects(labels)
    height, width = labels.shape[-2:]
    extents = [max(part.stop - part.start for part in where[1:]) for where in slices]
    margin = min(max([_MARGINS[0], *extents]), _MARGINS[1])
    whole = len(numbers) <= 1.5 * objects_per_crop
    count = 1 if whole else math.ceil(len(numbers) / objects_per_crop)
    crops = []
    for core in _tile(height, width, count, min_crop_size):
        box = Box(
            max(core.y0 - margin, 0),
            max(core.x0 - margin, 0),
            min(core.y1 + margin, height),
            min(core.x1 + margin, width),
        )
        owned, wide = set(), set()
        for number, (_, y, x), anchor in zip(numbers, slices, anchors, strict=True):
            if core.contains_pixel(anchor[1], anchor[2]):
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
        inside = find_anchor(np.argwhere(dense[where] == number))
        numbers.append(back[number])
        slices.append(where)
        anchors.append(tuple(i + part.start for i, part in zip(inside, where, strict=True)))
    return numbers, slices, anchors


def find_anchor(voxels: np.ndarray) -> tuple[int, ...]:
    """Return the anchor of an object: its voxel nearest to the centroid, the first of several.

    Parameters
    ----------
    voxels : ndarray of int
        (N, 3), in lexicographic order.
    """
    # offsets times N are whole numbers, so the anchor does not depend on the crop's origin
    offsets = (voxels - voxels[0]).astype(np.int64)
    distance = ((offsets * len(offsets) - offsets.sum(axis=0)).astype(np.float64) ** 2).sum(axis=1)
    return tuple(int(i) for i in voxels[int(np.argmin(distance))])


def _tile(height: int, width: int, count: int, min_size: int) -> list[Box]:
    """Return about `count` boxes that tile a rectangle, as square as possible."""
    side = math.sqrt(height * width / count)
    rows = min(max(round(height / side), 1), max(height // min_size, 1))
    columns = min(math.ceil(count / rows), max(width // min_size, 1))
    ys = [height * i // rows for i in range(rows + 1)]
    xs = [width * i // columns for i in range(columns + 1)]
    return [Box(ys[i], xs[j], ys[i + 1], xs[j + 1]) for i in range(rows) for j in range(columns)]
