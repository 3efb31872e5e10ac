"""Objects of a crop across its planes: which are known, and which parts belong together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def name_objects(
    stack: np.ndarray, seen: Sequence[frozenset[int]], new: Sequence[frozenset[int]]
) -> np.ndarray:
    """Return the objects of a crop: known ones by their number, others by negative numbers.

    A number is known in a plane in which it was when the image was cut. Elsewhere it may have
    been given twice, in pictures of which neither knew of the other, so it is taken for the
    known object only where it touches that in the next plane. A part drawn anew belongs to a
    known object that is above and below it and covers more than half of it, or is covered, in
    both; other new parts of neighbouring planes are one object where they overlap by more than
    half of the smaller.

    Parameters
    ----------
    stack : ndarray of uint32
        (Z, Y, X), of one crop.
    seen, new : sequence of frozenset of int
        For each plane: numbers that were there, and numbers that only tell objects apart.

    Returns
    -------
    ndarray of int64
        (Z, Y, X); 0 is background.
    """
    named = stack.astype(np.int64)
    parts: dict[int, tuple[int, int]] = {}  # negative number: plane, number as it came
    for z, plane in enumerate(stack):
        for number in np.unique(plane):
            if number and (int(number) not in seen[z] or int(number) in new[z]):
                parts[-len(parts) - 1] = z, int(number)
                named[z][plane == number] = -len(parts)
    _grow_known(named, stack, parts, new)
    _fill_gaps(named, parts)
    _join(named, parts, new)
    return named


def _grow_known(
    named: np.ndarray,
    stack: np.ndarray,
    parts: dict[int, tuple[int, int]],
    new: Sequence[frozenset[int]],
) -> None:
    """Give parts with the number of a known object that they touch its name."""
    for step in (1, -1):  # upwards, then downwards: an object may grow by several planes
        for part, (z, number) in sorted(parts.items(), key=lambda item: step * item[1][0]):
            if not 0 <= z - step < len(stack) or number in new[z]:
                continue
            mask = named[z] == part
            if (named[z - step][mask] == number).any():
                named[z][mask] = number
                del parts[part]


def _fill_gaps(named: np.ndarray, parts: dict[int, tuple[int, int]]) -> None:
    """Give a plane of a known object that was drawn anew the object's name."""
    for part, (z, _) in list(parts.items()):
        if not 0 < z < len(named) - 1:
            continue
        mask = named[z] == part
        below, above = (_main(named[z + step], mask) for step in (-1, 1))
        if below and below == above and not (named[z] == below).any():
            named[z][mask] = below
            del parts[part]


def _main(plane: np.ndarray, mask: np.ndarray) -> int:
    """Return the known object that shares more than half of the smaller of it and a part; or 0."""
    under = plane[mask]
    numbers, counts = np.unique(under[under > 0], return_counts=True)
    if not len(numbers):
        return 0
    best = int(np.argmax(counts))
    smaller = min(len(under), int(np.count_nonzero(plane == numbers[best])))
    return int(numbers[best]) if 2 * counts[best] > smaller else 0


def _join(
    named: np.ndarray, parts: dict[int, tuple[int, int]], new: Sequence[frozenset[int]]
) -> None:
    """Give parts of neighbouring planes that are one object one name."""
    sizes = dict(zip(*(a.tolist() for a in np.unique(named, return_counts=True)), strict=True))
    root = {part: part for part in parts}

    def find(part: int) -> int:
        while root[part] != part:
            part = root[part]
        return part

    for z in range(len(named) - 1):
        both = (named[z] < 0) & (named[z + 1] < 0)
        pairs = np.stack([named[z][both], named[z + 1][both]], axis=1)
        for (low, high), shared in zip(
            *(a.tolist() for a in np.unique(pairs, axis=0, return_counts=True)), strict=True
        ):
            number, other = parts[low][1], parts[high][1]
            same = number == other and number not in new[z] and number not in new[z + 1]
            if same or 2 * shared > min(sizes[low], sizes[high]):
                root[find(high)] = find(low)
    for part in parts:
        if find(part) != part:
            named[parts[part][0]][named[parts[part][0]] == part] = find(part)
