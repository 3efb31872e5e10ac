"""Linking of the planes of an annotated crop to 3D objects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_Parts = dict[int, tuple[int, int]]  # negative id to plane and number in the picture


def link_planes(
    stack: np.ndarray, seen: Sequence[frozenset[int]], new_labels: Sequence[frozenset[int]]
) -> np.ndarray:
    """Return the object ids of a crop: the numbers of known objects, negative ids for new ones.

    A number in a plane is the known object if that object was in this plane when the image was
    cut. In other planes, annotators of two crops may have chosen the same number independently.
    There it is the known object only if it touches this object in the next plane.

    A new part inside a gap of a known object is that object: the object is in the planes above
    and below, and in both the overlap is more than half of the smaller area. Other new parts in
    neighbouring planes are one object if they overlap by more than half of the smaller area, or if
    they overlap at all and the annotator gave them the same number.

    Parameters
    ----------
    stack : ndarray of uint32
        (Z, Y, X) of one crop.
    seen : sequence of frozenset of int
        For each plane, the numbers of objects that were in it when the image was cut.
    new_labels : sequence of frozenset of int
        For each plane, the numbers of objects that were added, see `Picture.new_labels`.

    Returns
    -------
    ndarray of int64
        (Z, Y, X); 0 is background.
    """
    ids = stack.astype(np.int64)
    parts: _Parts = {}
    for z, plane in enumerate(stack):
        for number in np.unique(plane):
            if number and (int(number) not in seen[z] or int(number) in new_labels[z]):
                parts[-len(parts) - 1] = z, int(number)
                ids[z][plane == number] = -len(parts)
    _extend_known(ids, stack, parts, new_labels)
    _fill_gaps(ids, parts)
    _join_parts(ids, parts, new_labels)
    return ids


def _extend_known(
    ids: np.ndarray, stack: np.ndarray, parts: _Parts, new_labels: Sequence[frozenset[int]]
) -> None:
    """Assign parts to the known object of their number if they touch it in the next plane."""
    for step in (1, -1):  # upwards, then downwards: an object may grow by several planes
        for part, (z, number) in sorted(parts.items(), key=lambda item: step * item[1][0]):
            if not 0 <= z - step < len(stack) or number in new_labels[z]:
                continue
            mask = ids[z] == part
            if (ids[z - step][mask] == number).any():
                ids[z][mask] = number
                del parts[part]


def _fill_gaps(ids: np.ndarray, parts: _Parts) -> None:
    """Assign parts to the known object that is both above and below them."""
    for part, (z, _) in list(parts.items()):
        if not 0 < z < len(ids) - 1:
            continue
        mask = ids[z] == part
        below, above = (_main_object(ids[z + step], mask) for step in (-1, 1))
        if below and below == above and not (ids[z] == below).any():
            ids[z][mask] = below
            del parts[part]


def _main_object(plane: np.ndarray, mask: np.ndarray) -> int:
    """Return the known object whose overlap is over half of the smaller area, 0 if there is none.

    Parameters
    ----------
    plane : ndarray of int64
        (Y, X), ids of the neighbouring plane.
    mask : ndarray of bool
        (Y, X) of a part.
    """
    under = plane[mask]
    numbers, counts = np.unique(under[under > 0], return_counts=True)
    if not len(numbers):
        return 0
    best = int(np.argmax(counts))
    smaller = min(len(under), int(np.count_nonzero(plane == numbers[best])))
    return int(numbers[best]) if 2 * counts[best] > smaller else 0


def _join_parts(ids: np.ndarray, parts: _Parts, new_labels: Sequence[frozenset[int]]) -> None:
    """Give parts that are one object the same id."""
    sizes = dict(zip(*(a.tolist() for a in np.unique(ids, return_counts=True)), strict=True))
    root = {part: part for part in parts}

    def find(part: int) -> int:
        while root[part] != part:
            part = root[part]
        return part

    for z in range(len(ids) - 1):
        both = (ids[z] < 0) & (ids[z + 1] < 0)
        pairs = np.stack([ids[z][both], ids[z + 1][both]], axis=1)
        for (low, high), shared in zip(
            *(a.tolist() for a in np.unique(pairs, axis=0, return_counts=True)), strict=True
        ):
            number, other = parts[low][1], parts[high][1]
            chosen = number not in new_labels[z] and number not in new_labels[z + 1]
            if (number == other and chosen) or 2 * shared > min(sizes[low], sizes[high]):
                root[find(high)] = find(low)
    for part in parts:
        if find(part) != part:
            plane = ids[parts[part][0]]
            plane[plane == part] = find(part)
