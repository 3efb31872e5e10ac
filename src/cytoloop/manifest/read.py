"""Read and validate one manifest."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from cytoloop.errors import ManifestError
from cytoloop.manifest.columns import FILE_COLUMNS, PREFIXES
from cytoloop.manifest.row import Manifest, Row
from cytoloop.redact import redact_url
from cytoloop.urls import is_remote, refusal_reason


def read_table(path: str | Path) -> tuple[Path, list[str], list[dict[str, str]]]:
    """Return the path, the columns and the cells of a CSV; the delimiter is ``,``, ``;`` or tab.

    Raises
    ------
    ManifestError
        The file is missing or not a CSV.
    """
    if is_remote(path):
        raise ManifestError(
            redact_url(str(path)), "is a URL", "Download the CSV; its cells may hold URLs."
        )
    path = Path(path).expanduser()
    if not path.is_file():
        raise ManifestError(str(path), "no such manifest", "Create one with `cytoloop curate`.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            delimiter = max(",;\t", key=file.readline().count)
            file.seek(0)
            reader = csv.DictReader(file, delimiter=delimiter)
            columns = [name for name in (reader.fieldnames or []) if name]
            records = [
                {name: _text(name, record.get(name)) for name in columns} for record in reader
            ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(
            str(path), f"is not a CSV file: {error}", "Expected UTF-8 text."
        ) from error
    return path, columns, records


def _text(name: str, cell: str | None) -> str:
    """Return the text of a cell, without the prefix of its column; names in Unicode's form NFC."""
    text = (cell or "").strip().removeprefix(PREFIXES.get(name, ""))
    return unicodedata.normalize("NFC", text) if name in ("id", "group") else text


def read_manifest(path: str | Path, required: Iterable[str] = ("raw",)) -> Manifest:
    """Return the rows of a manifest.

    Parameters
    ----------
    path : str or Path
        The CSV file. Files of CytoDL and of the Segmenter ML plugin are manifests too; their
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
            "The first line must name the columns; see docs/reference/manifest.md.",
        )
    root = path.parent.resolve()
    rows = [Row(record, root, number) for number, record in enumerate(records, start=1)]
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
