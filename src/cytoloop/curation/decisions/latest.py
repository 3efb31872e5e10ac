"""The current decision on each image, from all lines of a decisions log.

Later lines override earlier ones, so a decision is undone by one more line. Each column counts on
its own: an empty cell changes nothing, so a line that only adds an excluding mask keeps an earlier
``reject``. ``undecided`` withdraws a decision; ``none`` withdraws regions, a base image or
corrected labels; ``sources`` withdraws the regions of earlier decisions and keeps those of the
sources.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cytoloop.curation.decisions.log import LogLine, read_log
from cytoloop.curation.region_cells import NONE, SOURCES, parse_regions


@dataclass(frozen=True)
class Decision:
    """The current decision on one image.

    Attributes
    ----------
    decision : str
        ``keep``, ``reject`` or ``undecided``.
    base_image : str
        ``seg1``, ``seg2``, or "" where nothing is decided.
    exclude, merge : tuple of str
        Regions, as absolute paths, URLs, rules or ``none``.
    labels : str
        Corrected labels, as an absolute path or a URL; "" where there are none.
    reason, curator : str
        Of the decision; where there is none, the last that were given.
    """

    decision: str = "undecided"
    base_image: str = ""
    exclude: tuple[str, ...] = ()
    merge: tuple[str, ...] = ()
    labels: str = ""
    reason: str = ""
    curator: str = ""


def read_decisions(path: str | Path) -> dict[str, Decision]:
    """Return the current decision on each image of a log.

    Raises
    ------
    ManifestError
        See `cytoloop.curation.decisions.log.read_log`.
    """
    return latest_decisions(read_log(path))


def latest_decisions(lines: Iterable[LogLine]) -> dict[str, Decision]:
    """Return the current decision on each image, by id, from log lines in their order."""
    decisions: dict[str, Decision] = {}
    for line in lines:
        decisions[line["id"]] = _update(decisions.get(line["id"], Decision()), line)
    return decisions


def unknown_ids(decided: Iterable[str], ids: Sequence[str]) -> list[str]:
    """Return each decided id that no image has, with the most similar id of an image."""
    lines = []
    for name in sorted(set(decided) - set(ids)):
        close = [one for one in ids if one.lstrip("0") == name] or difflib.get_close_matches(
            name, ids, 1, 0.8
        )
        lines.append(name + (f" (did you mean {close[0]}?)" if close else ""))
    return lines


def _update(before: Decision, line: LogLine) -> Decision:
    """Return the decision on an image after one more line."""
    now = before
    decision = line["decision"].lower()
    if decision:
        now = replace(now, decision=decision, reason=line["reason"], curator=line["curator"])
    elif now.decision == "undecided":  # otherwise reason and curator belong to that decision
        now = replace(
            now, reason=line["reason"] or now.reason, curator=line["curator"] or now.curator
        )
    base = line["base_image"].lower()
    if base:
        now = replace(now, base_image="" if base == NONE else base)
    labels = line["labels"]
    if labels:
        now = replace(now, labels="" if labels.lower() == NONE else labels)
    return replace(
        now,
        exclude=_update_regions(now.exclude, line["exclude"]),
        merge=_update_regions(now.merge, line["merge"]),
    )


def _update_regions(before: tuple[str, ...], cell: str) -> tuple[str, ...]:
    """Return the regions after a cell: an empty one changes nothing."""
    parts = parse_regions(cell, Path()) or before
    words = [part.lower() for part in parts]
    return parts[len(words) - words[::-1].index(SOURCES) :] if SOURCES in words else parts
