"""Positions of groups between 0 and 1, from which splits and folds are drawn in every round."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

_RUN = 5
"""Number of neighbouring groups that are spread evenly: a fifth is the usual fraction."""


def group_position(seed: int, group: str) -> float:
    """Return the fixed position of a group in [0, 1): the SHA-256 of seed and name."""
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def stratified_positions(
    ids: Sequence[str], groups: Sequence[str], counts: Sequence[float], seed: int
) -> dict[str, float]:
    """Return positions of groups in [0, 1) that mix groups with few and with many objects.

    Groups are sorted by their mean count and divided into runs of 5 neighbours. Each run is spread
    evenly over 0 to 1, in random order. So every interval of positions has the same fraction of
    each run.

    Parameters
    ----------
    ids, groups : sequence of str
        Of equal length.
    counts : sequence of float
        Number of objects of each id.
    seed : int
    """
    counts_of_group: dict[str, list[float]] = {}
    for group, count in zip(groups, counts, strict=True):
        counts_of_group.setdefault(group, []).append(count)
    ranked = sorted(
        counts_of_group,
        key=lambda name: (sum(counts_of_group[name]) / len(counts_of_group[name]), name),
    )
    positions = {}
    for start in range(0, len(ranked), _RUN):
        run = sorted(ranked[start : start + _RUN], key=lambda name: group_position(seed, name))
        shift = group_position(seed, f"run {start}") / len(run)
        for number, name in enumerate(run):
            positions[name] = (number / len(run) + shift) % 1
    return positions
