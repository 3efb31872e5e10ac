"""One edit of a label image, which can be undone, and what the edits share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from cytoloop.errors import ConfigError, join_names

Box = tuple[slice, ...]


@dataclass(frozen=True, eq=False)
class Edit:
    """A change of a part of a label image.

    Attributes
    ----------
    text : str
        What was done, for a list of edits: ``split object 7``.
    box : tuple of slice
        The part of the image.
    before, after : ndarray of unsigned integers
        Labels of that part.
    """

    text: str
    box: Box
    before: np.ndarray
    after: np.ndarray

    def apply(self, labels: np.ndarray) -> None:
        """Change the labels in place."""
        labels[self.box] = self.after

    def revert(self, labels: np.ndarray) -> None:
        """Undo the change in place."""
        labels[self.box] = self.before


def edit_of(text: str, labels: np.ndarray, box: Box, after: np.ndarray) -> Edit:
    """Return the edit that writes `after` into a part of the labels.

    Raises
    ------
    ConfigError
        Nothing would change.
    """
    before = labels[box].copy()
    if np.array_equal(before, after):
        raise ConfigError(text, "nothing would change", "Choose another object or other values.")
    return Edit(text, box, before, after.astype(labels.dtype, copy=False))


def object_at(action: str, labels: np.ndarray, point: Sequence[float]) -> int:
    """Return the number of the object at a point ([z,] y, x) in voxels.

    Raises
    ------
    ConfigError
        The point is outside the image, or in the background.
    """
    index = index_of(action, labels, point)
    number = int(labels[index])
    if number == 0:
        raise ConfigError(
            action, f"there is no object at {_position(index)}", "Click inside an object."
        )
    return number


def index_of(action: str, labels: np.ndarray, point: Sequence[float]) -> tuple[int, ...]:
    """Return the voxel of a point.

    Raises
    ------
    ConfigError
        The point is outside the image.
    """
    index = tuple(int(np.floor(value + 0.5)) for value in point)
    if len(index) != labels.ndim or not all(
        0 <= i < n for i, n in zip(index, labels.shape, strict=True)
    ):
        raise ConfigError(
            action, f"the point {_position(index)} is outside the image", "Click on the image."
        )
    return index


def require_objects(action: str, labels: np.ndarray, numbers: Iterable[int]) -> list[int]:
    """Return the numbers, each once, if all are objects of the image.

    Raises
    ------
    ConfigError
        No number, or numbers that no voxel has.
    """
    wanted = [int(number) for number in dict.fromkeys(numbers) if number]
    if not wanted:
        raise ConfigError(action, "no object was chosen", "Click on an object.")
    missing = [str(number) for number in wanted if not (labels == number).any()]
    if missing:
        raise ConfigError(
            action, f"there is no object {join_names(missing)}", "Click on an object."
        )
    return wanted


def box_of(mask: np.ndarray, margin: int = 0) -> Box:
    """Return the bounding box of a mask, wider by a margin and cut at the image border."""
    box = []
    for axis in range(mask.ndim):
        others = tuple(a for a in range(mask.ndim) if a != axis)
        found = np.flatnonzero(mask.any(axis=others))
        box.append(slice(max(int(found[0]) - margin, 0), int(found[-1]) + 1 + margin))
    return tuple(slice(s.start, min(s.stop, n)) for s, n in zip(box, mask.shape, strict=True))


def next_number(labels: np.ndarray) -> int:
    """Return the first number above all objects."""
    return int(labels.max(initial=0)) + 1


def _position(index: Sequence[int]) -> str:
    return ", ".join(f"{axis} {i}" for axis, i in zip("zyx"[-len(index) :], index, strict=False))
