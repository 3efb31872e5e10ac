"""Decisions logs of several curators of one data set: combined, with conflicts listed.

Each log began as a copy of the same log, or empty. The lines that two logs share are their common
past. What only one curator changed since then counts; what both changed to the same, too. A cell
that both changed differently is a conflict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from cytoloop.curation.decisions.changes import changed_cells
from cytoloop.curation.decisions.drawn import is_unfinished
from cytoloop.curation.decisions.latest import Decision, latest_decisions
from cytoloop.curation.decisions.log import LogLine

PREFER = ("mine", "theirs", "latest")
"""Whose cell a conflict takes, if it is to be resolved."""
_COLUMNS = ("decision", "base_image", "labels")
"""Columns that can be in conflict. Regions of both curators count."""
Overlap = Callable[[str, str, str], str]
"""Takes an image and two regions; returns the region where both overlap."""


@dataclass(frozen=True)
class Conflict:
    """A cell of an image that two curators changed differently.

    Attributes
    ----------
    id : str
    column : str
        ``decision``, ``base_image`` or ``labels``.
    mine, theirs : str
        The present cells of this data set's log and of the other one.
    my_curator, their_curator : str
        Who wrote them, "" where a line states nobody.
    log : str
        The other log.
    used : str
        ``mine`` or ``theirs``.
    """

    id: str
    column: str
    mine: str
    theirs: str
    my_curator: str
    their_curator: str
    log: str
    used: str


@dataclass(frozen=True)
class Combined:
    """What one more log adds.

    Attributes
    ----------
    lines : list of LogLine
        To append to this data set's log.
    conflicts : list of Conflict
    """

    lines: list[LogLine]
    conflicts: list[Conflict]


def combine(
    mine: Sequence[LogLine],
    theirs: Sequence[LogLine],
    log: str,
    prefer: str | None = None,
    overlap: Overlap | None = None,
) -> Combined:
    """Return the lines that a log lacks to also hold the decisions of another one.

    Parameters
    ----------
    mine, theirs : sequence of LogLine
        Paths of files that both curators have are equal.
    log : str
        Name of the other log in conflicts.
    prefer : str, optional
        One of `PREFER`: what a conflict becomes. None: the image keeps its present cell, and the
        conflict is listed again by the next run, until the curators agree.
    overlap : callable, optional
        Where both curators marked parts as finished, unfinished is what neither finished.
    """
    known = {_key(line) for line in mine}
    past = latest_decisions(line for line in theirs if _key(line) in known)
    new = [line for line in theirs if _key(line) not in known]
    shared = {_key(line) for line in theirs}
    own = [line for line in mine if _key(line) not in shared]
    now, other = latest_decisions(mine), latest_decisions(theirs)
    found = Combined([], [])
    for row_id in dict.fromkeys(line["id"] for line in new):
        added = [line for line in new if line["id"] == row_id]
        before = past.get(row_id, Decision())
        ours, their = now.get(row_id, Decision()), other[row_id]
        takes = {
            name: prefer == "theirs"
            or (prefer == "latest" and _time(added, name) >= _time(_of_image(own, row_id), name))
            for name in _COLUMNS
        }
        target = _three_way(before, ours, their, takes)
        conflicts = [
            Conflict(
                row_id,
                name,
                cell_text(ours, name),
                cell_text(their, name),
                ours.curator,
                their.curator,
                log,
                "theirs" if takes[name] else "mine",
            )
            for name in _COLUMNS
            if _is_conflict(before, ours, their, name)
        ]
        found.conflicts.extend(conflicts)
        if overlap is not None:
            target = _finished_by_either(row_id, target, overlap)
        lines = added if prefer or not conflicts else []  # unresolved ones are listed again
        reached = latest_decisions([*_of_image(mine, row_id), *lines]).get(row_id, Decision())
        cells = changed_cells(reached, target)
        if cells:
            now_text = datetime.now(UTC).isoformat(timespec="seconds")
            line = {**dict.fromkeys(added[0], ""), "id": row_id, "time": now_text, **cells}
            lines = [*lines, line]
        found.lines.extend(lines)
    return found


def _three_way(
    before: Decision, mine: Decision, theirs: Decision, takes: Mapping[str, bool]
) -> Decision:
    """Return the decision that has what each side changed."""
    found = mine
    for name in _COLUMNS:
        past, ours, their = (getattr(one, name) for one in (before, mine, theirs))
        if their == past or not (ours == past or takes[name]):
            continue
        cells = {name: their}
        if name == "decision":
            cells |= {"reason": theirs.reason, "curator": theirs.curator}
        found = replace(found, **cells)
    return replace(
        found,
        exclude=_united(before.exclude, mine.exclude, theirs.exclude),
        merge=_united(before.merge, mine.merge, theirs.merge),
    )


def _is_conflict(before: Decision, mine: Decision, theirs: Decision, name: str) -> bool:
    past, ours, their = (getattr(one, name) for one in (before, mine, theirs))
    return past != ours != their != past


def _finished_by_either(row_id: str, target: Decision, overlap: Overlap) -> Decision:
    """Return a decision in which a part is unfinished only if both curators did not finish it."""
    parts = [part for part in target.exclude if is_unfinished(part)]
    if len(parts) < 2:
        return target
    others = tuple(part for part in target.exclude if part not in parts)
    first, *following = parts
    for part in following:
        first = overlap(row_id, first, part)
    return replace(target, exclude=(*others, first))


def _united(before: Iterable[str], mine: Sequence[str], theirs: Sequence[str]) -> tuple[str, ...]:
    """Return the regions that a side added, without those that a side took back."""
    past = set(before)
    gone = (past - set(mine)) | (past - set(theirs))
    return tuple(part for part in dict.fromkeys([*mine, *theirs]) if part not in gone)


def _key(line: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(line.values())


def _of_image(lines: Iterable[LogLine], row_id: str) -> list[LogLine]:
    return [line for line in lines if line["id"] == row_id]


def _time(lines: Iterable[LogLine], column: str) -> str:
    """Return the time of the last line with a cell in a column."""
    return max((line["time"] for line in lines if line[column]), default="")


def cell_text(decision: Decision, name: str) -> str:
    """Return a column of a decision as conflicts show it."""
    text = str(getattr(decision, name))
    return f"{text} ({decision.reason})" if name == "decision" and decision.reason else text
