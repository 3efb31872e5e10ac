"""One image cut in space into train, valid and test, with gaps between the parts.

Each part is a row of the same files that excludes everything outside its box, by the region rule
``outside_box``. No pixels are copied.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cc3d
import fastremap
import numpy as np

from cytoloop.curation.splits.names import SPLITS
from cytoloop.errors import CytoloopError, ManifestError
from cytoloop.manifest import Row, stack_of
from cytoloop.truth.regions import box_rules, instance_labels
from cytoloop.truth.targets import read_segmentation

log = logging.getLogger(__name__)

_MAX_GAP = 0.05
"""Largest gap, as a fraction of the image."""
_MIN_GAP = 2
"""Smallest gap in voxels, unless the user states a smaller one."""
_MIN_FILLED = 0.25
"""Of an object's bounding box: structures that fill less are networks, whose pieces are alike."""


@dataclass(frozen=True)
class Part:
    """A part of an image: its split, and the rule that excludes everything else."""

    split: str
    rule: str


def cut_row(row: Row, parts: Sequence[Part]) -> list[Row]:
    """Return one row for each part of an image, named ``ID_SPLIT``.

    The parts of a group in one split are a group: the whole group would join what was cut.
    """
    found = []
    for part in parts:
        name, group = f"{row.id}_{part.split}", f"{row['group'] or row.id}_{part.split}"
        values = {**row.values, "id": name, "group": group, "split": part.split}
        found.append(replace(row, values=values))
    return found


Stacks = Mapping[tuple[object, str], Row]
"""A row of an earlier round for each stack and split into which it cut planes."""


def stacks_of_previous_rows(previous: Mapping[str, Row]) -> Stacks:
    """Return the stacks whose planes an earlier round cut; `previous` are its rows by id."""
    return {
        (stack_of(row), split): row
        for row in previous.values()
        if row["plane"] and box_rules(row["exclude"])
        for split in SPLITS
        if row.id.endswith(f"_{split}")
    }


def parts_of_previous_rows(
    row: Row, previous: Mapping[str, Row], stacks: Stacks | None = None
) -> list[Part]:
    """Return the parts into which an earlier round cut the image of a row; empty if it did not.

    `previous` are the rows of the earlier round by id, `stacks` see `stacks_of_previous_rows`.

    An image is cut at the same places in all rounds: else the model of an earlier round would have
    seen voxels of the test part.
    """
    parts = []
    for split in SPLITS:
        before = previous.get(f"{row.id}_{split}")
        if before is None and row["plane"] and stacks:
            before = stacks.get((stack_of(row), split))
        boxes = box_rules(before["exclude"]) if before else []
        if boxes:
            parts.append(Part(split, boxes[0]))
    return parts


def plan_parts(
    rows: Sequence[Row], valid: float, test: float, gap: int | None = None
) -> list[Part] | None:
    """Return the parts of an image along its longest side: train, valid and test.

    The cuts are placed so that train, valid and test hold their fractions of the foreground.

    Parameters
    ----------
    rows : sequence of Row
        The image; or the planes of a stack, which are cut at the same places.
    valid, test : float
        Fractions of the foreground; ``test`` may be 0.
    gap : int, optional
        Voxels between two parts; default: the median side of an object along the cut axis, at
        most 5 % of the image.

    Returns
    -------
    list of Part or None
        None if the segmentation cannot be read or is empty, which the check of the row reports.

    Raises
    ------
    ManifestError
        The image is too small, or has too few objects, for these parts.
    """
    try:
        found = [read_segmentation(row, row["base_image"] or "seg1") for row in rows]
    except (CytoloopError, OSError):
        return None
    if not any(labels.any() for labels in found) or len({one.shape for one in found}) > 1:
        return None
    shape = found[0].shape
    axis = _longest_axis(shape)
    length = shape[axis]
    objects = [_measure(labels, axis) for labels in found if labels.any()]
    usual = int(np.median([_usual_gap(one.sides, length) for one in objects]))
    gap = usual if gap is None else gap
    others = tuple(number for number in range(len(shape)) if number != axis)
    filled = np.sum([np.count_nonzero(labels, axis=others) for labels in found], axis=0)
    fractions = [("train", 1 - valid - test), ("valid", valid), ("test", test)]
    ranges = _ranges(filled, [fraction for _, fraction in fractions if fraction > 0], gap)
    if any(start >= stop or not filled[start:stop].any() for start, stop in ranges):
        advice = ["a larger image", "more images", *(["test=0"] if test else [])]
        advice += ["a smaller split.gap"] if gap > 1 else []
        if gap * len(ranges) < np.count_nonzero(filled):
            advice.append("larger fractions valid= and test=" if test else "a larger valid=")
        raise ManifestError(
            rows[0].id,
            f"cannot be cut into {len(ranges)} parts: {length} voxels along its longest side, "
            f"gaps of {gap}, foreground in {np.count_nonzero(filled)} of them",
            f"Give {', '.join(advice[:-1])} or {advice[-1]}.",
        )
    names = [name for name, fraction in fractions if fraction > 0]
    most = max(objects, key=lambda one: len(one.sides))
    if len(most.sides) < len(names) and most.filled >= _MIN_FILLED:
        log.warning(
            "%s: has %d object(s) for %d parts: they show pieces of the same object, so that "
            "validation says little about others. Label more objects, or add images",
            rows[0].id,
            len(most.sides),
            len(names),
        )
    return [
        Part(name, _rule(len(shape), axis, start if number else None, stop, length))
        for number, (name, (start, stop)) in enumerate(zip(names, ranges, strict=True))
    ]


def _longest_axis(shape: tuple[int, ...]) -> int:
    """Return the longest axis; of equal ones Y, then X, then Z."""
    order = [len(shape) - 2, len(shape) - 1, *range(len(shape) - 2)]
    return max(order, key=lambda axis: shape[axis])


@dataclass(frozen=True)
class _Objects:
    """The objects of one image: sides along the cut axis, and how full their boxes are at least."""

    sides: list[int]
    filled: float


def _measure(labels: np.ndarray, axis: int) -> _Objects:
    """Return the objects of an image that has some."""
    objects, _ = fastremap.renumber(instance_labels(labels))
    found = cc3d.statistics(objects)
    sides, filled = [], []
    for box, voxels in zip(found["bounding_boxes"][1:], found["voxel_counts"][1:], strict=True):
        if box is None or not voxels:
            continue
        size = [side.stop - side.start for side in box]
        sides.append(size[axis])
        filled.append(voxels / math.prod(size))
    return _Objects(sides, min(filled, default=0.0))


def _usual_gap(sides: Sequence[int], length: int) -> int:
    """Return the median side of the objects along an axis, at most 5 % of the image."""
    usual = int(np.median(sides or [0]))
    return max(min(usual, int(length * _MAX_GAP)), _MIN_GAP)


def _ranges(filled: np.ndarray, fractions: Sequence[float], gap: int) -> list[tuple[int, int]]:
    """Return the start and stop of each part along the cut axis; a gap is between two parts."""
    reached = np.cumsum(filled) / filled.sum()
    cuts = [int(np.searchsorted(reached, part)) + 1 for part in np.cumsum(fractions)[:-1]]
    starts = [0, *(cut + gap - gap // 2 for cut in cuts)]
    stops = [*(cut - gap // 2 for cut in cuts), len(filled)]
    return list(zip(starts, stops, strict=True))


def _rule(ndim: int, axis: int, start: int | None, stop: int, length: int) -> str:
    sides = [":"] * ndim
    sides[axis] = f"{'' if start is None else start}:{'' if stop == length else stop}"
    return f"outside_box({', '.join(sides)})"
