"""The file of a decisions log: read as a spreadsheet may save it, appended to line by line."""

from __future__ import annotations

import csv
import difflib
import errno
import io
import os
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from cytoloop.curation.region_cells import (
    format_regions,
    format_relative_regions,
    parse_regions,
    rule_problem,
)
from cytoloop.errors import ManifestError, join_names
from cytoloop.io.atomic import replacing
from cytoloop.io.file_lock import locked_file
from cytoloop.manifest import append_encoding, read_csv_text
from cytoloop.manifest.cells import encoding_of
from cytoloop.manifest.write import safe_text
from cytoloop.truth.regions import is_rule

COLUMNS = (
    *("id", "decision", "base_image", "exclude", "merge", "reason", "curator", "time"),
    "labels",
)
DECISIONS = ("keep", "reject", "undecided")
_REGION_COLUMNS = ("exclude", "merge")
_FILE_COLUMNS = (*_REGION_COLUMNS, "labels")
_ADDED_COLUMNS = ("base_image", *_FILE_COLUMNS)
"""Columns that are added to a log without them: a line means something else without its cell."""

LogLine = dict[str, str]
"""Column to cell, with all of `COLUMNS`."""


def read_log(path: str | Path) -> list[LogLine]:
    """Return the lines of a log, with absolute paths of regions.

    Parameters
    ----------
    path : str or Path
        A CSV with at least the columns ``id`` and ``decision``, as spreadsheets write it: see
        `cytoloop.manifest.cells`. Its paths are relative to its folder.

    Raises
    ------
    ManifestError
        The file cannot be read, has unknown columns, too many cells in a row, or unknown words;
        all problems at once.
    """
    path = Path(path)
    columns, records = _read_records(path)
    root = Path(os.path.abspath(path.parent))
    problems: list[str] = []
    lines = []
    for number, record in enumerate(records, start=1):
        cells = [_one_line(cell) for cell in record]
        if not any(cells):
            continue
        line = dict.fromkeys(COLUMNS, "") | dict(zip(columns, cells, strict=False))
        line["id"] = unicodedata.normalize("NFC", line["id"])
        where = f"row {number} ({line['id']})"
        if not line["id"]:
            problems.append(f"row {number}: has no id")
        if any(cells[len(columns) :]):
            problems.append(
                f"{where}: has {len(cells)} cells for {len(columns)} columns; put text with a "
                "comma in double quotes"
            )
        problems += [f"{where}, {text}" for text in _line_problems(line)]
        files = {n: format_regions(parse_regions(line[n], root)) for n in _FILE_COLUMNS}
        lines.append(line | files)
    if problems:
        raise ManifestError(
            str(path), problems, "Correct these cells. An empty cell changes nothing."
        )
    return lines


def append_decision(path: str | Path, decision: Mapping[str, str]) -> None:
    """Append one line to a log; a missing log is created.

    The line is synced to disk, so a crash loses at most this line. An empty time is filled in.
    Several processes may append at once. Paths start at the folder of the log. A log that lacks a
    column for regions, a base image or corrected labels gets it in its first line.

    Parameters
    ----------
    path : str or Path
    decision : mapping of str to str
        Column to text; ``id`` is required.

    Raises
    ------
    ManifestError
        An unknown column or word, or no id. Nothing is written.
    """
    path = Path(path)
    line = {name: _one_line(str(decision.get(name, ""))) for name in COLUMNS}
    problems = [f"has no column {name!r}" for name in sorted(set(decision) - set(COLUMNS))]
    problems += _line_problems(line)
    if not line["id"]:
        problems.append("the decision has no id")
    if problems:
        raise ManifestError(str(path), problems, f"The columns are {', '.join(COLUMNS)}.")
    line["time"] = line["time"] or datetime.now(UTC).isoformat(timespec="seconds")
    with locked_file(path):
        _add_columns(path, [name for name in _ADDED_COLUMNS if line[name]])
        _append(path, [line])


def append_lines(path: Path, lines: Sequence[LogLine]) -> None:
    """Append lines of `read_log` to a log, with paths relative to its folder.

    Call it within `cytoloop.io.file_lock.locked_file`.

    Raises
    ------
    ManifestError
        The log has no column for a cell. Nothing is written.
    """
    root = Path(os.path.abspath(path.parent))
    relative = [
        line
        | {
            name: format_relative_regions(parse_regions(line[name], root), root)
            for name in _FILE_COLUMNS
        }
        for line in lines
    ]
    _append(path, relative, whole=True)


def _add_columns(path: Path, names: Sequence[str]) -> None:
    """Add columns that a log lacks to its first line; the other lines stay as they are."""
    if not names or not path.is_file():
        return
    text, delimiter = read_csv_text(path)
    if not text.strip():
        return
    lost = [name for name in names if name not in _read_header(text, path, delimiter)]
    if not lost:
        return
    first, end, others = text.partition("\n")
    header = first.rstrip("\r" + delimiter) + "".join(delimiter + name for name in lost)
    with replacing(path) as temporary:
        encoding = encoding_of(path.read_bytes())
        temporary.write_bytes((header + (end or "\n") + others).encode(encoding))


def check_columns(path: Path, lines: Sequence[LogLine]) -> None:
    """Refuse lines with a cell for which a log has no column.

    Raises
    ------
    ManifestError
        The log has no column for a cell.
    """
    if not path.is_file():
        return
    text, delimiter = read_csv_text(path)
    if not text.strip():
        return
    columns = _read_header(text, path, delimiter)
    lost = [name for name in COLUMNS if name not in columns and any(line[name] for line in lines)]
    if lost:
        raise ManifestError(
            str(path),
            f"has no column {join_names(lost)}, which decisions of another log need",
            f"Make its first line {','.join([*columns, *lost])}; the other lines stay as they are.",
        )


def _append(path: Path, lines: Sequence[LogLine], whole: bool = False) -> None:
    """Append lines in the form of the log; `whole`: refuse cells without a column."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if whole:
        check_columns(path, lines)
    columns: Sequence[str] = COLUMNS
    delimiter, is_open = ",", False
    has_header = path.exists() and path.stat().st_size > 0
    encoding = append_encoding(path) if has_header else "utf-8"
    if has_header:
        text, delimiter = read_csv_text(path)
        columns = _read_header(text, path, delimiter)
        is_open = not text.endswith("\n")  # after a crash, or by some editors
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator="\n")
    if is_open:
        buffer.write("\n")
    if not has_header:
        writer.writerow(columns)
    writer.writerows([safe_text(line.get(name, "")) for name in columns] for line in lines)
    try:
        content = buffer.getvalue().encode(encoding)
    except UnicodeEncodeError as error:
        raise ManifestError(
            str(path),
            f"is {encoding} text, which has no {error.object[error.start]!r}",
            "Save it as CSV UTF-8.",
        ) from error
    _append_bytes(path, content)


def _append_bytes(path: Path, content: bytes) -> None:
    """Append all of the content, or nothing, and sync it to disk."""
    with path.open("ab", buffering=0) as file:  # unbuffered: one call of the system
        before = file.seek(0, os.SEEK_END)
        try:
            if file.write(content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        except OSError:
            file.truncate(before)
            raise


def _read_records(path: Path) -> tuple[tuple[str, ...], list[list[str]]]:
    """Return the columns of a log and the cells of each row."""
    if not path.is_file():
        raise ManifestError(
            str(path),
            "no such decisions log",
            f"Expected a CSV with the columns {', '.join(COLUMNS)}.",
        )
    text, delimiter = read_csv_text(path)
    if not text.strip():
        return COLUMNS, []
    columns = _read_header(text, path, delimiter)
    try:
        records = list(csv.reader(io.StringIO(text), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise ManifestError(
            str(path),
            f"is not a valid CSV: {error}",
            "A quote is open: close it, or double it inside a text.",
        ) from error
    return columns, records[1:]


def _read_header(text: str, path: Path, delimiter: str) -> tuple[str, ...]:
    """Return the columns of a log."""
    first = text.splitlines()[0]
    found = [name.strip().lower() for name in next(csv.reader([first], delimiter=delimiter), [])]
    while found and not found[-1]:  # spreadsheets also save empty columns
        found.pop()
    problems = []
    if "id" not in found or "decision" not in found:
        problems.append(f"has no column id or decision (found: {', '.join(found)})")
    for name in dict.fromkeys(found):
        if name not in COLUMNS:
            close = difflib.get_close_matches(name, COLUMNS, 1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            problems.append(f"has an unknown column {name!r}{hint}")
        elif found.count(name) > 1:
            problems.append(f"has the column {name!r} twice")
    if problems:
        raise ManifestError(str(path), problems, f"The first line must be {','.join(COLUMNS)}.")
    return tuple(found)


def _line_problems(line: Mapping[str, str]) -> list[str]:
    problems = []
    if line["decision"].lower() not in ("", *DECISIONS):
        problems.append(f"column 'decision': {line['decision']!r}; expected {', '.join(DECISIONS)}")
    if line["base_image"].lower() not in ("", "none", "seg1", "seg2"):
        problems.append(f"column 'base_image': {line['base_image']!r}; expected seg1, seg2 or none")
    if is_rule(line["labels"]) or len(parse_regions(line["labels"], Path())) > 1:
        problems.append(f"column 'labels': {line['labels']!r}; expected one label image or none")
    for column in _REGION_COLUMNS:
        for part in parse_regions(line[column], Path()):
            problem = rule_problem(part) if is_rule(part) else None
            if is_rule(part) and column == "merge":
                problem = f"{part} is a rule; merging regions must be files"
            problems += [f"column {column!r}: {problem}"] if problem else []
    return problems


def _one_line(text: str) -> str:
    """Return a cell without line breaks: each decision is one line of the file."""
    return " ".join(text.splitlines()).strip()
