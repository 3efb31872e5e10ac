"""Read and validate one manifest."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path

from cytoloop.errors import ManifestError
from cytoloop.home import expand_home
from cytoloop.manifest.cells import read_cells
from cytoloop.manifest.columns import COLUMNS, FILE_COLUMNS, PREFIXES, known_columns
from cytoloop.manifest.find_files import find_files
from cytoloop.manifest.own_folder import table_in
from cytoloop.manifest.row import Manifest, Row
from cytoloop.redact import redact_url
from cytoloop.urls import is_remote, refusal_reason


def read_table(path: str | Path) -> tuple[Path, list[str], list[dict[str, str]]]:
    """Return the path, the columns and the cells of a table; see `read_cells` for its forms.

    A folder that CytoLoop wrote stands for its table.

    Capitals and blanks in the name of a known column do not matter: `` Raw `` is ``raw``.

    Raises
    ------
    ManifestError
        The file is missing or no table, or has a column twice.
    """
    if is_remote(path):
        raise ManifestError(
            redact_url(str(path)), "is a URL", "Download the table; its cells may hold URLs."
        )
    path = expand_home(table_in(path))
    if not path.is_file():
        raise ManifestError(str(path), "no such manifest", "Create one with `cytoloop curate`.")
    header, *rows = read_cells(path) or [[]]
    names = known_columns(header)
    twice = sorted({name for name in names if name in COLUMNS and names.count(name) > 1})
    problems = [f"has the column {name!r} twice" for name in twice]
    problems += [
        f"row {number} has {len(row)} cells, but the first line names {len(names)} columns"
        for number, row in enumerate(rows, start=1)
        if any(row[len(names) :])
    ]
    if problems:
        repair = "Remove one of two equal columns; quote cells that hold the delimiter."
        raise ManifestError(str(path), problems, repair)
    records = [
        {name: _text(name, cell) for name, cell in zip_longest(names, row, fillvalue="") if name}
        for row in rows
    ]
    return path, [name for name in names if name], records


def _text(name: str, cell: str) -> str:
    """Return the text of a cell, without the prefix of its column; names in Unicode's form NFC."""
    text = cell.removeprefix(PREFIXES.get(name, ""))
    return unicodedata.normalize("NFC", text) if name in ("id", "group") else text


def read_manifest(path: str | Path, required: Iterable[str] = ("raw",)) -> Manifest:
    """Return the rows of a manifest.

    Parameters
    ----------
    path : str or Path
        The table. Files of CytoDL and of the Segmenter ML plugin are manifests too; their
        unnamed index column is dropped.
    required : iterable of str
        Columns that must exist and be filled in every row.

    Raises
    ------
    ManifestError
        Missing file, missing columns, empty cells, duplicate ids or refused URLs. One error lists
        all problems of the cells.
    """
    path, columns, records = read_table(path)
    required = tuple(required)
    missing = [name for name in required if name not in columns]
    if missing:
        raise ManifestError(
            str(path),
            f"has no column {', '.join(missing)} (found: {', '.join(columns) or 'none'})",
            "The first line names the columns. `cytoloop curate` writes such a table from images.",
        )
    root = path.parent.resolve()
    rows = [Row(record, root, number) for number, record in enumerate(records, start=1)]
    find_files(rows, path)
    problems = [f"{row.where(name)} is empty" for row in rows for name in required if not row[name]]
    problems += _duplicate_ids(rows)
    problems += [
        f"{row.where(name)}: {redact_url(row[name])} {reason}"
        for row in rows
        for name in FILE_COLUMNS
        if is_remote(row[name]) and (reason := refusal_reason(row[name]))
    ]
    if problems:
        raise ManifestError(str(path), problems, "Correct these cells or remove the rows.")
    return Manifest(path, rows)


def _duplicate_ids(rows: list[Row]) -> list[str]:
    first: dict[str, int] = {}
    problems = []
    for row in rows:
        if row["id"] and first.setdefault(row["id"], row.number) != row.number:
            problems.append(f"row {row.number}: id {row['id']!r} is also in row {first[row['id']]}")
    return problems
