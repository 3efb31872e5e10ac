"""Folds of cross-validation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from cytoloop.curation.splits.positions import group_position
from cytoloop.errors import ConfigError


def assign_folds(
    groups: Mapping[str, str], folds: int, seed: int, previous: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Return the fold, from 0, in which each id is used for validation.

    All ids of a group are in one fold. The groups are taken in the order of their positions; each
    goes to the fold with the fewest images.

    Parameters
    ----------
    groups : mapping of str to str
        Id to group, of the rows outside test.
    folds : int
        Number of folds.
    seed : int
    previous : mapping of str to int, optional
        Folds of ids in the previous round. These ids and their groups keep their fold.

    Raises
    ------
    ConfigError
        Fewer groups than folds, or fewer than 2 folds.
    """
    names = sorted(set(groups.values()))
    if not 2 <= folds <= len(names):
        raise ConfigError(
            f"split.folds={folds}",
            f"expected 2 to {len(names)}, the number of groups outside test",
            "Give fewer folds, or curate more groups.",
        )
    sizes = Counter(groups.values())
    kept = {groups[name]: fold for name, fold in sorted((previous or {}).items()) if name in groups}
    found = {group: fold for group, fold in kept.items() if 0 <= fold < folds}
    load = Counter(dict.fromkeys(range(folds), 0))
    for group, fold in found.items():
        load[fold] += sizes[group]
    for group in sorted(names, key=lambda name: group_position(seed, name)):
        if group not in found:
            empty = [fold for fold in range(folds) if not load[fold]]
            found[group] = empty[0] if empty else min(load, key=lambda fold: (load[fold], fold))
            load[found[group]] += sizes[group]
    return {name: found[group] for name, group in groups.items()}
