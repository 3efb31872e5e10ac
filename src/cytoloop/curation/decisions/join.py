"""Several decisions logs as one: which lines count, and which are appended to the own log."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from cytoloop.curation.decisions.log import LogLine, append_lines, read_log
from cytoloop.errors import join_names
from cytoloop.io.file_lock import locked_file

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Logs:
    """The lines of the logs that a curation reads.

    Attributes
    ----------
    parent, own, given : list of LogLine
        Of the parent data set, of this data set, of ``decisions=``. Later logs override earlier
        ones. `parent` and `given` lack the lines that `own` has.
    """

    parent: list[LogLine]
    own: list[LogLine]
    given: list[LogLine]

    @classmethod
    def of(
        cls, parent: Sequence[LogLine], own: Sequence[LogLine], given: Sequence[LogLine]
    ) -> Logs:
        """Return the logs without repeated lines, so later lines of the own log stay later."""
        known = {tuple(line.values()) for line in own}
        first = [line for line in parent if tuple(line.values()) not in known]
        known |= {tuple(line.values()) for line in first}
        last = [line for line in given if tuple(line.values()) not in known]
        return cls(first, list(own), last)

    @property
    def lines(self) -> list[LogLine]:
        """All lines, in the order in which they count."""
        return [*self.parent, *self.own, *self.given]


def append_other_logs(path: Path, logs: Logs) -> None:
    """Append the lines of the other logs to the own log, and warn of lines that arrived meanwhile.

    The own log is never rewritten. Where a line of the parent is appended, the own lines on the
    same image are repeated after it, so that they still count more. Lines that somebody appended
    since the logs were read take effect in the next curation.

    Parameters
    ----------
    path : Path
        The own log; it may be missing.
    logs : Logs
        As read at the start of the curation.

    Raises
    ------
    ManifestError
        The log was changed so that it cannot be read, or lacks a column. Nothing is written.
    """
    if not logs.parent and not logs.given and not path.is_file():
        return
    with locked_file(path):
        now = read_log(path) if path.is_file() else []
        arrived = _added(logs.own, now)
        of_parent, of_given = ({line["id"] for line in part} for part in (logs.parent, logs.given))
        lines = [
            *logs.parent,
            *_on_images(logs.own, of_parent),
            *logs.given,
            *_on_images(arrived, of_parent | of_given),
        ]
        if lines:
            append_lines(path, lines)
    if arrived:
        log.warning(
            "%s: %d decision(s) were added while this run was under way (%s); run `cytoloop "
            "curate` again to apply them",
            path,
            len(arrived),
            join_names(dict.fromkeys(line["id"] for line in arrived)),
        )


def _added(before: Sequence[LogLine], now: Sequence[LogLine]) -> list[LogLine]:
    """Return the lines that were added to a log."""
    known = Counter(tuple(line.values()) for line in before)
    added = []
    for line in now:
        key = tuple(line.values())
        known[key] -= 1
        if known[key] < 0:
            added.append(line)
    return added


def _on_images(lines: Sequence[LogLine], ids: Collection[str]) -> list[LogLine]:
    return [line for line in lines if line["id"] in ids]
