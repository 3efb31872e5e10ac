"""The file of a decisions log: as a spreadsheet may have left it, and only ever appended to."""

from __future__ import annotations

import csv
import difflib
import io
import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

from cytoloop.curation.region_cells import join_parts, relative_parts, rule_problem, split_parts
from cytoloop.errors import ManifestError
from cytoloop.io.atomic import replacing
from cytoloop.truth.regions import is_rule

LOG = "decisions.csv"
COLUMNS = ("id", "decision", "base_image", "exclude", "merge", "reason", "curator", "time")
DECISIONS = ("keep", "reject", "undecided")
_REGIONS = ("exclude", "merge")

Line = dict[str, str]


def read_log(path: str | Path) -> list[Line]:
    """Return the lines of a log, with absolute paths of regions.

    Parameters
    ----------
    path : str or Path
        A CSV with at least the columns ``id`` and ``decision``, as a spreadsheet saves it, with
        commas, semicolons or tabs. Paths in it start at its folder.

    Raises
    ------
    ManifestError
        Unreadable, other columns, cells beyond the last column, or words that are no decision;
        all of them.
    """
    path = Path(path)
    columns, records = _records(path)
    root = Path(os.path.abspath(path.parent))
    problems: list[str] = []
    lines = []
    for number, record in enumerate(records, start=1):
        cells = [_one_line(cell) for cell in record]
        if not any(cells):
            continue
        line = dict.fromkeys(COLUMNS, "") | dict(zip(columns, cells, strict=False))
        where = f"row {number} ({line['id']})"
        if not line["id"]:
            problems.append(f"row {number}: has no id")
        if any(cells[len(columns) :]):
            problems.append(
                f"{where}: has {len(cells)} cells for {len(columns)} columns; text with a comma "
                "stands in double quotes"
            )
        problems += [f"{where}, {text}" for text in _line_problems(line)]
        lines.append(line | {n: join_parts(split_parts(line[n], root)) for n in _REGIONS})
    if problems:
        raise ManifestError(
            str(path), problems, "Correct these cells; an empty cell leaves a matter as it was."
        )
    return lines


def append_decision(path: str | Path, decision: Mapping[str, str]) -> None:
    """Append one line to a log, making the log where there is none.

    The line is written at once and synced, so that a crash loses at most this line. The time is
    filled in where it is not given.

    Parameters
    ----------
    path : str or Path
    decision : mapping of str to str
        Column to text; ``id`` is needed.

    Raises
    ------
    ManifestError
        An unknown column, no id, or a word that is no decision; nothing is written then.
    """
    path = Path(path)
    strange = sorted(set(decision) - set(COLUMNS))
    line = {name: _one_line(str(decision.get(name, ""))) for name in COLUMNS}
    problems = [f"has no column {name!r}" for name in strange] + _line_problems(line)
    if not line["id"]:
        problems.append("the decision has no id")
    if problems:
        raise ManifestError(str(path), problems, f"The columns are {', '.join(COLUMNS)}.")
    line["time"] = line["time"] or datetime.now(timezone.utc).isoformat(timespec="seconds")
    path.parent.mkdir(parents=True, exist_ok=True)
    columns: Sequence[str] = COLUMNS
    delimiter, torn = ",", False
    there = path.exists() and path.stat().st_size > 0
    if there:
        text = path.read_text(encoding="utf-8-sig")
        columns, delimiter = _header(text, path)
        torn = not text.endswith("\n")  # a crash or an editor left the last line open
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator="\n")
    if torn:
        buffer.write("\n")
    if not there:
        writer.writerow(columns)
    writer.writerow([line.get(name, "") for name in columns])
    with path.open("a", encoding="utf-8", newline="") as file:
        file.write(buffer.getvalue())
        file.flush()
        os.fsync(file.fileno())


def joined(before: Sequence[Line], own: Sequence[Line], given: Sequence[Line]) -> list[Line]:
    """Return one log of three: that of the round before, a data set's own, and one given by hand.

    Lines that the data set's own log has already are not said twice: what was decided since then
    stands.
    """
    known = {tuple(line.values()) for line in own}
    first = [line for line in before if tuple(line.values()) not in known]
    known |= {tuple(line.values()) for line in first}
    return [*first, *own, *(line for line in given if tuple(line.values()) not in known)]


def write_log(path: Path, lines: Sequence[Line]) -> None:
    """Write a log whole, atomically, with paths that start at its folder."""
    root = Path(os.path.abspath(path.parent))
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for line in lines:
            told = {n: relative_parts(split_parts(line[n], root), root) for n in _REGIONS}
            writer.writerow([(line | told)[name] for name in COLUMNS])


def _records(path: Path) -> tuple[tuple[str, ...], list[list[str]]]:
    if not path.is_file():
        raise ManifestError(
            str(path), "no such decisions log", f"It is a CSV with {', '.join(COLUMNS)}."
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ManifestError(
            str(path), f"is no UTF-8 text: {error}", "Save it as CSV UTF-8."
        ) from error
    if not text.strip():
        return COLUMNS, []
    columns, delimiter = _header(text, path)
    try:
        records = list(csv.reader(io.StringIO(text), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise ManifestError(
            str(path), f"is no CSV: {error}", "A quote is open: close it, or double it in a text."
        ) from error
    return columns, records[1:]


def _header(text: str, path: Path) -> tuple[tuple[str, ...], str]:
    """Return the columns and the delimiter of a log."""
    first = text.splitlines()[0]
    delimiter = max(",;\t", key=first.count)
    found = [name.strip().lower() for name in next(csv.reader([first], delimiter=delimiter), [])]
    while found and not found[-1]:  # spreadsheets save empty columns too
        found.pop()
    problems = []
    if "id" not in found or "decision" not in found:
        problems.append(f"has no column id or decision (found: {', '.join(found)})")
    for name in dict.fromkeys(found):
        if name not in COLUMNS:
            close = difflib.get_close_matches(name, COLUMNS, 1)
            hint = f" (is {close[0]} meant?)" if close else ""
            problems.append(f"has an unknown column {name!r}{hint}")
        elif found.count(name) > 1:
            problems.append(f"has the column {name!r} twice")
    if problems:
        raise ManifestError(str(path), problems, f"The first line must be {','.join(COLUMNS)}.")
    return tuple(found), delimiter


def _line_problems(line: Mapping[str, str]) -> list[str]:
    problems = []
    if line["decision"].lower() not in ("", *DECISIONS):
        problems.append(f"column 'decision': {line['decision']!r}; expected {', '.join(DECISIONS)}")
    if line["base_image"].lower() not in ("", "none", "seg1", "seg2"):
        problems.append(f"column 'base_image': {line['base_image']!r}; expected seg1, seg2 or none")
    for column in _REGIONS:
        for part in split_parts(line[column], Path()):
            told = rule_problem(part) if is_rule(part) else None
            if is_rule(part) and column == "merge":
                told = f"{part} is a rule; merging regions are drawn"
            problems += [f"column {column!r}: {told}"] if told else []
    return problems


def _one_line(text: str) -> str:
    """Return a cell without line breaks: a decision is a line, for people and for tools."""
    return " ".join(text.splitlines()).strip()
