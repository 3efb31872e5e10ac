"""Similarity: pictures that are the same, or nearly, and where they may not both be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from cytoloop.curation.checks.facts import Facts
from cytoloop.curation.checks.image_statistics import read_signature
from cytoloop.curation.checks.quality_limits import Limit
from cytoloop.errors import ManifestError, truncate_lines

_BLOCK = 1024
_LISTED = 20

Nearest = Mapping[str, tuple[str, float]]
"""Id to the id of the picture most like it, and their correlation."""


def find_nearest(facts: Sequence[Facts]) -> dict[str, tuple[str, float]]:
    """Return for each row the other one whose picture is most like its own.

    Compared are thumbnails of mean projections, by correlation; pictures with the same pixels
    have 1.
    """
    usable = [one for one in facts if one.signature]
    if len(usable) < 2:
        return {}
    vectors = np.stack([read_signature(one.signature) for one in usable])
    found = {}
    for start in range(0, len(usable), _BLOCK):
        alike = vectors[start : start + _BLOCK] @ vectors.T
        alike[np.arange(len(alike)), start + np.arange(len(alike))] = -1
        best = np.argmax(alike, axis=1)
        for offset, other in enumerate(best):
            one = usable[start + offset]
            value = min(float(alike[offset, other]), 1.0)
            found[one.id] = (usable[other].id, round(value, 4))
    first: dict[str, str] = {}
    for one in usable:
        if (twin := first.setdefault(one.pixels, one.id)) != one.id:
            found[one.id], found[twin] = (twin, 1.0), (one.id, 1.0)
    return found


def add_similarity(facts: Sequence[Facts], nearest: Nearest) -> list[Facts]:
    """Return facts with the figure ``similarity``."""
    return [
        replace(one, figures={**one.figures, "similarity": nearest[one.id][1]})
        if one.id in nearest
        else one
        for one in facts
    ]


def refuse_leaks(
    facts: Sequence[Facts],
    splits: Mapping[str, str],
    folds: Mapping[str, int],
    limit: Limit,
) -> None:
    """Refuse pictures nearly alike on two sides of the split, or in two folds.

    Raises
    ------
    ManifestError
        All such pairs.
    """
    usable = [one for one in facts if one.signature and one.id in splits]
    if limit.max is None or limit.action == "ignore" or len(usable) < 2:
        return
    vectors = np.stack([read_signature(one.signature) for one in usable])
    sides = [(splits[one.id], folds.get(one.id, -1)) for one in usable]
    numbers = {side: number for number, side in enumerate(dict.fromkeys(sides))}
    side = np.array([numbers[one] for one in sides])
    lines = []
    for start in range(0, len(usable), _BLOCK):
        alike = vectors[start : start + _BLOCK] @ vectors.T
        apart = side[start : start + _BLOCK, None] != side[None, :]
        for row, column in np.argwhere((alike > limit.max) & apart):
            if column > start + row:
                one, other = usable[start + row].id, usable[column].id
                lines.append(
                    f"{one} ({_told(sides[start + row])}) and {other} ({_told(sides[column])}) are "
                    f"nearly the same picture (similarity {alike[row, column]:.3f})"
                )
    if lines:
        raise ManifestError(
            "splitting",
            truncate_lines(lines, _LISTED),
            "Scores on such a split flatter. Give both one group (group=), reject one of them "
            "in decisions.csv, or give split.leakage=allow.",
        )


def _told(side: tuple[str, int]) -> str:
    return side[0] if side[1] < 0 else f"{side[0]}, fold {side[1]}"
