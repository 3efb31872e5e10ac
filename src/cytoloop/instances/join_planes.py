"""Objects of neighbouring planes that are one object."""

from __future__ import annotations

import numpy as np


class PlaneJoiner:
    """Numbers of objects over the planes of a stack: 2D objects, or joined by their overlap.

    An object is joined with at most one object of the next plane: of all pairs that overlap enough
    those with the highest intersection over union. Objects that touch stay apart where a larger one
    covers two of them.

    Parameters
    ----------
    min_overlap : float or None
        Two objects are one if they share more than this fraction of the smaller one, [0, 1). None:
        objects of different planes have different numbers.
    """

    def __init__(self, min_overlap: float | None) -> None:
        self._min_overlap = min_overlap
        self._previous: np.ndarray | None = None
        self._count = 0

    @property
    def count(self) -> int:
        """Objects in all planes so far."""
        return self._count

    def add(self, labels: np.ndarray) -> np.ndarray:
        """Return the numbers of the objects of the next plane, as labels.

        Parameters
        ----------
        labels : ndarray of integers
            (Y, X), 1..N, 0 = background.

        Returns
        -------
        ndarray of uint32
            Same shape.
        """
        number = np.zeros(int(labels.max(initial=0)) + 1, np.uint32)
        if self._min_overlap is not None and self._previous is not None:
            for below, own in _matches(self._previous, labels, self._min_overlap):
                number[own] = below
        new = np.flatnonzero(number[1:] == 0) + 1
        number[new] = np.arange(self._count + 1, self._count + 1 + len(new))
        self._count += len(new)
        self._previous = number[labels]
        return self._previous


def _matches(below: np.ndarray, labels: np.ndarray, min_overlap: float) -> list[tuple[int, int]]:
    """Return pairs of objects that are one: the number in the plane below, the own label."""
    both = (below > 0) & (labels > 0)
    pairs, shared = np.unique(
        np.stack([below[both], labels[both]], axis=1).astype(np.int64), axis=0, return_counts=True
    )
    if not len(pairs):
        return []
    own_sizes = np.bincount(labels.reshape(-1))[pairs[:, 1]]
    numbers, counts = np.unique(below, return_counts=True)
    sizes = counts[np.searchsorted(numbers, pairs[:, 0])]
    union = sizes + own_sizes - shared
    enough = shared > min_overlap * np.minimum(sizes, own_sizes)
    found, taken_below, taken_own = [], set(), set()
    for place in np.argsort(-shared / union, kind="stable"):
        number, own = (int(n) for n in pairs[place])
        if enough[place] and number not in taken_below and own not in taken_own:
            found.append((number, own))
            taken_below.add(number)
            taken_own.add(own)
    return found
