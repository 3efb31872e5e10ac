"""Conversion between the objects of an annotation project and label images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cytoloop.curation.exchange.annotation.picture import Picture
from cytoloop.curation.exchange.annotation.project_files import LARGEST_NUMBER
from cytoloop.errors import ImageError
from cytoloop.truth.regions import Polygon, polygons_to_mask


@dataclass(frozen=True)
class DrawnObject:
    """One object of an annotation project.

    Attributes
    ----------
    where : str
        Name of the object in error messages, for example ``object 3``.
    number : int or None
        None if the object was added in the tool.
    geometry : Any
        Its pixels in the tool's own format.
    """

    where: str
    number: int | None
    geometry: Any


def paint_picture(
    where: str,
    name: str,
    shape: tuple[int, int],
    objects: Sequence[DrawnObject],
    to_indices: Callable[[Any], np.ndarray],
    done: bool,
    problems: Iterable[str] = (),
) -> Picture:
    """Return a picture with the labels of its objects.

    Later objects cover earlier ones. Objects with the same number become one label.

    Parameters
    ----------
    where : str
        The file, for the error message.
    name : str
        Name of the picture.
    shape : tuple of int
        (Y, X).
    objects : sequence of DrawnObject
    to_indices : callable
        Returns the flat pixel indices of a geometry, see `flat_indices`. Raises ValueError for a
        faulty geometry.
    done : bool
        The picture is marked as finished.
    problems : iterable of str
        Faults of the picture that were found earlier.

    Raises
    ------
    ImageError
        All faults of the picture.
    """
    problems = list(problems)
    largest = max((one.number for one in objects if one.number is not None), default=0)
    count = sum(one.number is None for one in objects)
    added = range(largest + 1, largest + 1 + count)
    if added and added[-1] > LARGEST_NUMBER:
        problems.append(
            f"object number {largest} leaves no numbers for {count} new objects; expected at most "
            f"{LARGEST_NUMBER - count}"
        )
        added = range(1, 1 + count)
    free = iter(added)
    labels = np.zeros(shape, np.uint32)
    for one in objects:
        number = next(free) if one.number is None else one.number
        try:
            labels.reshape(-1)[to_indices(one.geometry)] = number
        except ValueError as error:
            problems.append(f"{one.where}: {error}")
    if problems:
        raise ImageError(where, problems)
    new = frozenset(added)
    if new:
        new &= set(np.unique(labels).tolist())  # without objects that others cover
    return Picture(name, labels, None, done, new)


def flat_indices(mask: np.ndarray, corner: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """Return the indices of a mask's pixels in the raveled picture.

    Parameters
    ----------
    mask : ndarray of bool
        (Y, X).
    corner : tuple of int
        (Y, X) of the mask's first pixel in the picture.
    shape : tuple of int
        (Y, X) of the picture.
    """
    y, x = np.nonzero(mask)
    return (y + corner[0]) * shape[1] + (x + corner[1])


def polygon_indices(polygons: Sequence[Polygon], shape: tuple[int, int]) -> np.ndarray:
    """Return the indices of the pixels inside polygons, as `flat_indices`.

    Parts of polygons outside the picture are left out.
    """
    if not polygons:
        return np.zeros(0, np.int64)
    outlines = np.concatenate([polygon.exterior for polygon in polygons])
    top, left = (int(n) for n in np.clip(np.floor(outlines.min(axis=0)), 0, shape))
    bottom, right = (int(n) for n in np.clip(np.ceil(outlines.max(axis=0)) + 1, 0, shape))
    corner = np.array([top, left])
    moved = [
        Polygon(p.exterior - corner, tuple(hole - corner for hole in p.holes)) for p in polygons
    ]
    return flat_indices(polygons_to_mask(moved, (bottom - top, right - left)), (top, left), shape)


def iter_objects(labels: np.ndarray) -> Iterator[tuple[int, tuple[int, int], np.ndarray]]:
    """Yield the number, corner (Y, X) and mask (Y, X) of each object, sorted by number."""
    from scipy import ndimage

    # find_objects allocates a list as long as the largest label, and labels can be in the billions
    numbers, compact = np.unique(labels, return_inverse=True)
    compact = compact.reshape(labels.shape) + int(numbers[0] != 0)
    boxes = ndimage.find_objects(compact)
    for index, (number, box) in enumerate(zip(numbers[numbers > 0], boxes, strict=True), start=1):
        yield int(number), (box[0].start, box[1].start), compact[box] == index
