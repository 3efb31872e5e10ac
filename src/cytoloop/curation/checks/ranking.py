"""Ranking: the rows that a person should look at first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cytoloop.curation.checks.duplicates import Nearest
from cytoloop.curation.checks.facts import Facts
from cytoloop.curation.checks.quality_limits import DEFAULT_LIMITS, Limit, priority
from cytoloop.manifest import Row

COLUMNS = (
    *("rank", "id", "priority", "status", "split", "flags", "problems", "nearest"),
    *DEFAULT_LIMITS,
    *("pieces", "object_voxels", "low", "median", "high", "shift_z", "shift_y", "shift_x"),
)
"""Of ``quality.csv``."""


@dataclass(frozen=True)
class Ranked:
    """A row's place in the order of looking.

    Attributes
    ----------
    id : str
    rank : int
        From 1, the row to look at first.
    priority : float
        See `cytoloop.curation.checks.quality_limits.priority`.
    flags : tuple of str
        What is beyond its limits, in words.
    problems : tuple of str
    nearest : str
        Id of the picture most like this one.
    """

    id: str
    rank: int
    priority: float
    flags: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    nearest: str = ""


def rank_rows(
    rows: Sequence[Row],
    facts: Mapping[str, Facts],
    limits: Mapping[str, Limit],
    flags: Mapping[str, Sequence[str]],
    nearest: Nearest,
) -> list[Ranked]:
    """Return the rows in the order in which a person should look at them.

    By priority; among equals the image with the lowest contrast comes first.
    """
    scored = []
    for row in rows:
        one = facts[row.id]
        value = priority(one.figures, limits, len(one.problems))
        scored.append((-value, one.figures.get("contrast", 0.0), row.id))
    return [
        Ranked(
            id=name,
            rank=rank,
            priority=-value,
            flags=tuple(flags.get(name, ())),
            problems=tuple(f"{p.column}: {p.text}" for p in facts[name].problems),
            nearest=nearest[name][0] if name in nearest else "",
        )
        for rank, (value, _, name) in enumerate(sorted(scored), start=1)
    ]


def table(
    ranking: Sequence[Ranked], rows: Mapping[str, Row], facts: Mapping[str, Facts]
) -> list[dict[str, object]]:
    """Return the lines of ``quality.csv``."""
    lines = []
    for one in ranking:
        row = rows[one.id]
        figures = {name: f"{value:.6g}" for name, value in facts[one.id].figures.items()}
        lines.append(
            {
                **figures,
                "rank": one.rank,
                "id": one.id,
                "priority": f"{one.priority:g}",
                "status": row["status"],
                "split": row["split"],
                "flags": row["flags"],
                "problems": "; ".join(one.problems),
                "nearest": one.nearest,
            }
        )
    return lines
