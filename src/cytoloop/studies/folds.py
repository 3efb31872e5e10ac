"""Folds of a data set: each part validates, or is tested, once."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from cytoloop.errors import ConfigError
from cytoloop.manifest import Manifest, Row

MIN_FOLDS, MAX_FOLDS = 3, 20


def fold_datasets(
    dataset: Mapping[str, Manifest], count: int
) -> Iterator[tuple[int, dict[str, Manifest]]]:
    """Yield the number of each fold, from 1, and its data set.

    With test images, these stay as they are and the fold validates. Without, the fold is tested,
    the next one validates, and the others train (cross-validation).

    Raises
    ------
    ConfigError
        Fewer groups (or images, where they have no groups) than folds.
    """
    known = {row.id for split in ("train", "valid") for row in dataset[split]}
    rows = list({row.id: row for part in ("train", "valid") for row in dataset[part]}.values())
    own_test = [row for row in dataset["test"] if row.id not in known]
    folds = divide(rows, count)
    for number in range(1, count + 1):
        following = number % count + 1
        valid, test = (number, None) if own_test else (following, number)
        parts = {
            "train": [row for row in rows if folds[row.id] not in (valid, test)],
            "valid": [row for row in rows if folds[row.id] == valid],
            "test": own_test or [row for row in rows if folds[row.id] == test],
        }
        yield number, {k: Manifest(dataset[k].path, found) for k, found in parts.items()}


def divide(rows: Sequence[Row], count: int) -> dict[str, int]:
    """Return the fold (1 to `count`) of each row id; a group is in one fold.

    Data sets that were curated with ``split.folds=COUNT`` keep their folds. Else groups, in an
    arbitrary and repeatable order, go into the smallest fold.
    """
    stated = {row.id: row["fold"] for row in rows}
    names = sorted(set(stated.values()))
    if len(names) == count and all(names):
        return {name: names.index(fold) + 1 for name, fold in stated.items()}
    units: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        units[row["group"] or row.id].append(row.id)
    if len(units) < count:
        raise ConfigError(
            "folds",
            f"{count} folds need as many groups or images, found {len(units)}",
            f"Set folds={len(units)} or less, or label more images.",
        )
    order = sorted(units, key=lambda name: hashlib.sha256(name.encode()).digest())
    sizes = [0] * count
    found: dict[str, int] = {}
    for unit in sorted(order, key=lambda name: -len(units[name])):  # stable: equal sizes keep it
        smallest = sizes.index(min(sizes))
        sizes[smallest] += len(units[unit])
        found |= dict.fromkeys(units[unit], smallest + 1)
    return found
