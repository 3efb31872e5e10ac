"""Decisions: what the log says of each image in the end.

The last word about an image wins, and undoing is one more line. Each column is a matter of its
own: an empty cell says nothing about it, so a line that only adds an excluding mask leaves an
earlier ``reject`` standing. ``undecided`` takes a decision back, ``none`` takes regions or a base
image back.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cytoloop.curation.decisions.log import Line, read_log
from cytoloop.curation.region_cells import NONE, split_parts


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
    """Return the last word about each image of a log, see `cytoloop.curation.decisions.log.read_log`."""
    return verdicts_of(read_log(path))


def verdicts_of(lines: Iterable[Line]) -> dict[str, Verdict]:
    """Return the last word about each image, from lines in the order in which they were said."""
    verdicts: dict[str, Verdict] = {}
    for line in lines:
        verdicts[line["id"]] = _after(verdicts.get(line["id"], Verdict()), line)
    return verdicts


def unknown_ids(verdicts: Iterable[str], ids: Sequence[str]) -> list[str]:
    """Return a line for each decided id that no image has, with the likeliest one meant."""
    lines = []
    for name in sorted(set(verdicts) - set(ids)):
        close = [one for one in ids if one.lstrip("0") == name] or difflib.get_close_matches(
            name, ids, 1, 0.8
        )
        lines.append(name + (f" (is {close[0]} meant?)" if close else ""))
    return lines


def _after(earlier: Verdict, line: Line) -> Verdict:
    """Return what is true of an image after one more line."""
    now = earlier
    decision = line["decision"].lower()
    if decision:
        now = replace(now, decision=decision, reason=line["reason"], curator=line["curator"])
    elif now.decision == "undecided":  # else the words belong to the decision that stands
        now = replace(
            now, reason=line["reason"] or now.reason, curator=line["curator"] or now.curator
        )
    base = line["base_image"].lower()
    if base:
        now = replace(now, base_image="" if base == NONE else base)
    exclude, merge = (split_parts(line[column], Path()) for column in ("exclude", "merge"))
    return replace(now, exclude=exclude or now.exclude, merge=merge or now.merge)
