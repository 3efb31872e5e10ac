"""Objects as annotation tools draw them, on top of each other, and as labels."""

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
class Drawn:
    """An object as a tool wrote it down.

    Attributes
    ----------
    what : str
        What the error calls it, ``object 3``.
    number : int or None
        None if it was drawn anew.
    form : Any
        Its pixels in the form of the tool.
    """

    what: str
    number: int | None
    form: Any


def draw_picture(
    where: str,
    name: str,
    shape: tuple[int, int],
    drawn: Sequence[Drawn],
    pixels: Callable[[Any], np.ndarray],
    done: bool,
    problems: Iterable[str] = (),
) -> Picture:
    """Return the picture of objects; later ones lie on top, those of one number are one.

    Parameters
    ----------
    where : str
        The file, for the error.
    name : str
    shape : tuple of int
        (Y, X).
    drawn : sequence of Drawn
    pixels : callable
        Returns the places of a form's pixels, as `places`, or raises ValueError.
    done : bool
    problems : iterable of str
        Faults of the picture that are known already.

    Raises
    ------
    ImageError
        All faults of the picture.
    """
    problems = list(problems)
    largest = max((one.number for one in drawn if one.number is not None), default=0)
    added = range(largest + 1, largest + 1 + sum(one.number is None for one in drawn))
    if added and added[-1] > LARGEST_NUMBER:
        problems.append(f"has an object {largest}, and no number left for {len(added)} new ones")
        added = range(1, 1 + len(added))
    free = iter(added)
    labels = np.zeros(shape, np.uint32)
    for one in drawn:
        number = next(free) if one.number is None else one.number
        try:
            labels.reshape(-1)[pixels(one.form)] = number
        except ValueError as error:
            problems.append(f"{one.what}: {error}")
    if problems:
        raise ImageError(where, problems)
    new = frozenset(added)
    return Picture(name, labels, None, done, new & set(np.unique(labels).tolist()) if new else new)


def places(mask: np.ndarray, corner: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """Return where the pixels of a mask (Y, X) at a corner lie in a raveled picture."""
    y, x = np.nonzero(mask)
    return (y + corner[0]) * shape[1] + (x + corner[1])


def polygon_places(polygons: Sequence[Polygon], shape: tuple[int, int]) -> np.ndarray:
    """Return `places` of the pixels that polygons hold within a picture."""
    if not polygons:
        return np.zeros(0, np.int64)
    outlines = np.concatenate([polygon.exterior for polygon in polygons])
    top, left = (int(n) for n in np.clip(np.floor(outlines.min(axis=0)), 0, shape))
    bottom, right = (int(n) for n in np.clip(np.ceil(outlines.max(axis=0)) + 1, 0, shape))
    corner = np.array([top, left])
    moved = [
        Polygon(p.exterior - corner, tuple(hole - corner for hole in p.holes)) for p in polygons
    ]
    return places(polygons_to_mask(moved, (bottom - top, right - left)), (top, left), shape)


def objects_of(labels: np.ndarray) -> Iterator[tuple[int, tuple[int, int], np.ndarray]]:
    """Yield number, corner (Y, X) and mask (Y, X) of each object, by number."""
    from scipy import ndimage

    numbers, compact = np.unique(labels, return_inverse=True)  # numbers may be in the billions
    compact = compact.reshape(labels.shape) + int(numbers[0] != 0)
    boxes = ndimage.find_objects(compact)
    for place, (number, box) in enumerate(zip(numbers[numbers > 0], boxes, strict=True), start=1):
        yield int(number), (box[0].start, box[1].start), compact[box] == place
