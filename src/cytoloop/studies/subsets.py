"""Data sets of a study: all test and validation images, and some of the training images."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from cytoloop.errors import ConfigError
from cytoloop.manifest import FILE_COLUMNS, Manifest, Row, dataset_hash, write_manifest


def choose_rows(
    rows: Sequence[Row], fraction: float, where: Mapping[str, Sequence[str]]
) -> list[Row]:
    """Return some of the training rows.

    Rows are ordered by a hash of their ids, so that the choice is arbitrary and repeatable, and the
    rows of a smaller fraction are among those of a larger one.

    Parameters
    ----------
    rows : sequence of Row
    fraction : float
        (0, 1], of the rows that `where` leaves; at least one row is returned.
    where : mapping
        Column to the values that rows may have.

    Raises
    ------
    ConfigError
        No row has these values.
    """
    kept = [row for row in rows if all(row[column] in values for column, values in where.items())]
    if not kept:
        known = {c: sorted({row[c] for row in rows})[:20] for c in where}
        raise ConfigError(
            "where",
            f"no training image has {_shown(where)} (found: {_shown(known)})",
            "Name values that the column of train.csv holds.",
        )
    order = sorted(kept, key=lambda row: hashlib.sha256(row.id.encode()).digest())
    count = max(1, math.ceil(fraction * len(order) - 1e-9))
    chosen = {row.id for row in order[:count]}
    return [row for row in kept if row.id in chosen]


def write_subset(parts: Mapping[str, Manifest], folder: Path) -> Path:
    """Write a data set of some rows of another one, and return its folder.

    The folder's name is made of a hash of rows and files, so that equal subsets share one.
    """
    target = folder / f"data_{dataset_hash(parts)[:12]}"
    target.mkdir(parents=True, exist_ok=True)
    for split, manifest in parts.items():
        write_manifest(target / f"{split}.csv", [_absolute(row) for row in manifest])
    return target


def _absolute(row: Row) -> dict[str, str]:
    """Return the cells of a row; its files lie beside another table."""
    return {**row.values, **{column: row.location(column) for column in FILE_COLUMNS}}


def _shown(columns: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{name} {', '.join(values)}" for name, values in columns.items())
