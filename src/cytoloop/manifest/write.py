"""Write a manifest."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cytoloop.io.atomic import replacing
from cytoloop.manifest.columns import COLUMNS, PREFIXES


def write_manifest(
    path: str | Path,
    rows: Iterable[Mapping[str, object]],
    columns: Sequence[str] = COLUMNS,
) -> None:
    """Write a CSV atomically: a crash leaves the old file or the new file.

    Parameters
    ----------
    path : str or Path
    rows : iterable of mappings
        Values by column name; None and missing values become empty cells.
    columns : sequence of str
        The first columns, in this order; further columns of `rows` follow in alphabetical order.
    """
    rows = list(rows)
    names = [*columns, *sorted({name for row in rows for name in row} - set(columns))]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        for row in rows:
            writer.writerow([_cell(name, row.get(name)) for name in names])


def format_spacing(spacing_um: Sequence[float] | None) -> str:
    """Return the cell text of a voxel size, ``"z y x"`` in um."""
    return " ".join(f"{size:g}" for size in spacing_um) if spacing_um else ""


def _cell(name: str, value: object) -> object:
    """Return the cell of a value; a bare carriage return would end the row."""
    if isinstance(value, str):
        prefix = PREFIXES.get(name, "")
        if value and not value.startswith(prefix):
            value = prefix + value
        return value.replace("\r\n", "\n").replace("\r", "\n")
    return "" if value is None else value
