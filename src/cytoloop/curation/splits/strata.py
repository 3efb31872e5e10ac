"""Places of groups: numbers by which shares and folds are drawn, the same in every round."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

from cytoloop.errors import ConfigError


def place(seed: int, group: str) -> float:
    """Return the fixed place of a group, from 0 to below 1 (SHA-256 of seed and name)."""
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def fold_rows(
    groups: Mapping[str, str], folds: int, seed: int, kept: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Return the fold, from 0, in which each id is for validation; groups are not divided.

    The groups are dealt out in the order of their places, each to the fold with the fewest
    images, so that folds are as even as groups allow.

    Parameters
    ----------
    groups : mapping of str to str
        Id to group, of the rows that are not for testing.
    folds : int
    seed : int
    kept : mapping of str to int, optional
        Fold of ids in an earlier round: they, and with them their groups, never move.

    Raises
    ------
    ConfigError
        Fewer groups than folds, or a number of folds below 2.
    """
    names = sorted(set(groups.values()))
    if not 2 <= folds <= len(names):
        raise ConfigError(
            f"split.folds={folds}",
            f"expected 2 to {len(names)}, the number of groups that are not for testing",
            "Ask for fewer folds, or curate more groups.",
        )
    sizes = Counter(groups.values())
    found = {groups[name]: fold for name, fold in sorted((kept or {}).items()) if name in groups}
    found = {group: fold for group, fold in found.items() if 0 <= fold < folds}
    load = Counter(dict.fromkeys(range(folds), 0))
    for group, fold in found.items():
        load[fold] += sizes[group]
    for group in sorted(names, key=lambda name: place(seed, name)):
        if group not in found:
            empty = [fold for fold in range(folds) if not load[fold]]
            found[group] = empty[0] if empty else min(load, key=lambda fold: (load[fold], fold))
            load[found[group]] += sizes[group]
    return {name: found[group] for name, group in groups.items()}


def stratified_places(
    ids: Sequence[str], groups: Sequence[str], counts: Sequence[float], seed: int
) -> dict[str, float]:
    """Return places of groups, from 0 to below 1, that interleave groups of few and many objects.

    Groups are ranked by their mean count. Each run of neighbours in that ranking is spread
    evenly over 0 to 1, in an order drawn by their places: whatever interval of places makes a
    split, it takes the same share of every run.
    """
    totals: dict[str, list[float]] = {}
    for group, count in zip(groups, counts, strict=True):
        totals.setdefault(group, []).append(count)
    ranked = sorted(totals, key=lambda name: (sum(totals[name]) / len(totals[name]), name))
    run = 5  # a fifth is the usual share
    found = {}
    for start in range(0, len(ranked), run):
        members = sorted(ranked[start : start + run], key=lambda name: place(seed, name))
        shift = place(seed, f"run {start}") / len(members)
        for position, name in enumerate(members):
            found[name] = (position / len(members) + shift) % 1
    return found
