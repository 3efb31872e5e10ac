"""The decisions log: what people decided about images, one line after the other.

``decisions.csv`` is only ever appended to: the last word about an image wins, and undoing is one
more line. Each column is a matter of its own: an empty cell says nothing about it, so a line that
only adds an excluding mask leaves an earlier ``reject`` standing. ``undecided`` takes a decision
back, ``none`` takes regions or a base image back.
"""

from __future__ import annotations

import csv
import difflib
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from cytoloop.errors import ConfigError, ManifestError
from cytoloop.regions import is_rule, parse_rule

LOG = "decisions.csv"
COLUMNS = (
    "id",
    "decision",
    "base_image",
    "exclude",
    "merge",
    "reason",
    "curator",
    "time",
)
DECISIONS = ("keep", "reject", "undecided")
NONE = "none"
"""What clears the regions that come before it."""


@dataclass(frozen=True)
class Verdict:
    """What the log says of one image in the end.

    Attributes
    ----------
    decision : str
        ``keep``, ``reject`` or ``undecided``.
    base_image : str
        ``seg1``, ``seg2``, or "" where nothing is decided.
    exclude, merge : tuple of str
        Regions, as absolute paths, rules or ``none``.
    reason, curator : str
        Of the decision; where there is none, the last that were given.
    """

    decision: str = "undecided"
    base_image: str = ""
    exclude: tuple[str, ...] = ()
    merge: tuple[str, ...] = ()
    reason: str = ""
    curator: str = ""


def read_decisions(path: str | Path) -> dict[str, Verdict]:
    """Return the last word about each image of a log.

    Parameters
    ----------
    path : str or Path
        A CSV with at least the column ``id``; as a spreadsheet saves it, with commas,
        semicolons or tabs. Paths in it start at its folder.

    Raises
    ------
    ManifestError
        Unreadable, without an ``id`` column, or with words that are no decision; all of them.
    """
    path = Path(path).expanduser()
    root = Path(os.path.abspath(path.parent))
    verdicts: dict[str, Verdict] = {}
    problems: list[str] = []
    for number, line in enumerate(_lines(path), start=1):
        where = f"row {number} ({line['id']})"
        if not line["id"]:
            if any(line.values()):
                problems.append(f"row {number}: has no id")
            continue
        found = _line_problems(line)
        problems += [f"{where}, {text}" for text in found]
        if not found:
            earlier = verdicts.get(line["id"], Verdict())
            verdicts[line["id"]] = _after(earlier, line, root)
    if problems:
        raise ManifestError(
            str(path), problems, "Correct these cells; an empty cell leaves a matter as it was."
        )
    return verdicts


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
    columns: tuple[str, ...] = COLUMNS
    delimiter, torn = ",", False
    if path.exists() and path.stat().st_size:
        text = path.read_text(encoding="utf-8-sig")
        columns, delimiter = _header(text, path)
        torn = not text.endswith("\n")  # a crash or an editor left the last line open
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator="\n")
    if torn:
        buffer.write("\n")
    if not (path.exists() and path.stat().st_size):
        writer.writerow(columns)
    writer.writerow([line.get(name, "") for name in columns])
    with path.open("a", encoding="utf-8", newline="") as file:
        file.write(buffer.getvalue())
        file.flush()
        os.fsync(file.fileno())


def adopt_log(source: Path, target: Path) -> None:
    """Copy a log to another folder, with paths that lead to the same files; never over another."""
    if target.exists() or not source.is_file():
        return
    text = source.read_text(encoding="utf-8-sig")
    columns, delimiter = _header(text, source)
    lines = list(csv.reader(io.StringIO(text), delimiter=delimiter))
    places = [i for i, name in enumerate(columns) if name in ("exclude", "merge")]
    for line in lines[1:]:
        for i in (place for place in places if place < len(line)):
            parts = split_parts(line[i], Path(os.path.abspath(source.parent)))
            told = [p if is_word(p) else _relative(p, target.parent) for p in parts]
            line[i] = "; ".join(told)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([columns, *lines[1:]])
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def unknown_ids(verdicts: Iterable[str], ids: Sequence[str]) -> list[str]:
    """Return a line for each decided id that no image has, with the likeliest one meant."""
    known = set(ids)
    lines = []
    for name in sorted(set(verdicts) - known):
        close = [one for one in ids if one.lstrip("0") == name] or difflib.get_close_matches(
            name, ids, 1, 0.8
        )
        lines.append(name + (f" (is {close[0]} meant?)" if close else ""))
    return lines


def split_parts(text: str, root: Path) -> tuple[str, ...]:
    """Return the regions of a cell: absolute paths, rules, and ``none``; ``;`` divides them."""
    parts = [part.strip() for part in text.split(";")]
    return tuple(
        part if is_word(part) else os.path.abspath(root / Path(part).expanduser())
        for part in parts
        if part
    )


def rule_problem(text: str) -> str | None:
    """Return what is wrong with a region rule, None for a good one."""
    try:
        parse_rule(text)
    except ConfigError as error:
        return f"{text} {'; '.join(error.problems)}. {error.repair}"
    return None


def is_word(part: str) -> bool:
    """Tell a rule or ``none`` from a path."""
    return part.lower() == NONE or is_rule(part)


def _relative(path: str, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # Windows, another drive
        return path


def _lines(path: Path) -> list[dict[str, str]]:
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
        return []
    columns, delimiter = _header(text, path)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    next(reader)
    cells = [dict(zip(columns, row, strict=False)) for row in reader]
    return [{name: _one_line(line.get(name, "")) for name in COLUMNS} for line in cells]


def _one_line(text: str) -> str:
    """Return a cell without line breaks: a decision is a line, for people and for tools."""
    return " ".join(text.splitlines()).strip()


def _header(text: str, path: Path) -> tuple[tuple[str, ...], str]:
    """Return the columns and the delimiter of a log."""
    first = text.splitlines()[0]
    delimiter = max(",;\t", key=first.count)
    columns = tuple(name.strip().lower() for name in next(csv.reader([first], delimiter=delimiter)))
    if "id" not in columns or "decision" not in columns:
        raise ManifestError(
            str(path),
            f"has no column id or decision (found: {', '.join(columns)})",
            f"The first line must be {','.join(COLUMNS)}.",
        )
    return columns, delimiter


def _line_problems(line: Mapping[str, str]) -> list[str]:
    problems = []
    if line["decision"].lower() not in ("", *DECISIONS):
        problems.append(f"column 'decision': {line['decision']!r}; expected {', '.join(DECISIONS)}")
    if line["base_image"].lower() not in ("", NONE, "seg1", "seg2"):
        problems.append(f"column 'base_image': {line['base_image']!r}; expected seg1, seg2 or none")
    for column in ("exclude", "merge"):
        for part in split_parts(line[column], Path()):
            told = rule_problem(part) if is_rule(part) else None
            if is_rule(part) and column == "merge":
                told = f"{part} is a rule; merging regions are drawn"
            problems += [f"column {column!r}: {told}"] if told else []
    return problems


def _after(earlier: Verdict, line: Mapping[str, str], root: Path) -> Verdict:
    """Return what is true of an image after one more line."""
    now = earlier
    decision = line["decision"].lower()
    if decision:
        now = replace(
            now,
            decision=decision,
            reason=line["reason"],
            curator=line["curator"],
        )
    elif now.decision == "undecided":  # else the words belong to the decision that stands
        now = replace(
            now, reason=line["reason"] or now.reason, curator=line["curator"] or now.curator
        )
    base = line["base_image"].lower()
    if base:
        now = replace(now, base_image="" if base == NONE else base)
    exclude, merge = (split_parts(line[column], root) for column in ("exclude", "merge"))
    return replace(now, exclude=exclude or now.exclude, merge=merge or now.merge)
