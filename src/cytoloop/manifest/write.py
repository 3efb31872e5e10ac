"""Write a manifest."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cytoloop.io.atomic import replacing
from cytoloop.manifest.columns import COLUMNS, FILE_COLUMNS, PREFIXES

_FORMULA_SIGNS = ("=", "+", "-", "@", "\t")
"""Spreadsheets take a cell that begins with one of these for a formula, which may run a command."""


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


def safe_text(text: str) -> str:
    """Return a cell that no spreadsheet takes for a formula: it begins with a space.

    Tables are read without spaces around a cell, so the text stays the same. Numbers stay as they
    are.

    >>> safe_text("=cmd|'/c calc'!A0"), safe_text("-1.5"), safe_text("blurred")
    (" =cmd|'/c calc'!A0", '-1.5', 'blurred')
    """
    if not text.startswith(_FORMULA_SIGNS):
        return text
    try:
        float(text)
    except ValueError:
        return f" {text}"
    return text


def _cell(name: str, value: object) -> object:
    """Return the cell of a value; a bare carriage return would end the row."""
    if isinstance(value, str):
        prefix = PREFIXES.get(name, "")
        if value and not value.startswith(prefix):
            value = prefix + value
        value = value.replace("\r\n", "\n").replace("\r", "\n")
        if name in FILE_COLUMNS:  # CytoDL does not remove spaces
            return f"./{value}" if value.startswith(_FORMULA_SIGNS) else value
        return safe_text(value)
    return "" if value is None else value
