"""The order in which a curator should review the rows, and the table ``quality.csv``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cytoloop.curation.checks.duplicates import Nearest
from cytoloop.curation.checks.quality_limits import DEFAULT_LIMITS, Limit, priority
from cytoloop.curation.checks.result import CheckResult
from cytoloop.errors import ManifestError
from cytoloop.manifest import Row

REVIEW_RANK = "review_rank"
"""Column of a table of sources, such as that of `cytoloop rank`: the place in the order of review.
"""

QUALITY_COLUMNS = (
    *("rank", "id", "priority", "status", "split", "flags", "problems", "to_do", "nearest"),
    *DEFAULT_LIMITS,
    *("pieces", "object_voxels", "low", "median", "high", "shift_z", "shift_y", "shift_x"),
)
"""Columns of ``quality.csv``."""


@dataclass(frozen=True)
class RankedRow:
    """A row's place in the order of review.

    Attributes
    ----------
    id : str
        Of the row.
    rank : int
        From 1, the row to review first.
    priority : float
        See `cytoloop.curation.checks.quality_limits.priority`.
    flags : tuple of str
        Descriptions of the metrics outside their limits.
    problems : tuple of str
        ``column: text`` of each problem.
    nearest : str
        Id of the most similar image, "" where there is none.
    """

    id: str
    rank: int
    priority: float
    flags: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    nearest: str = ""


def rank_rows(
    results: Mapping[str, CheckResult],
    limits: Mapping[str, Limit],
    flags: Mapping[str, Sequence[str]],
    nearest: Nearest,
    stated: Mapping[str, int] | None = None,
) -> list[RankedRow]:
    """Return the checked rows in the order of review.

    Rows with problems come first, then those whose sources state a place, then the others. The
    highest priority comes first; of equal priorities, the lowest contrast; then the id decides.

    Parameters
    ----------
    results : mapping of str to CheckResult
    limits : mapping of str to Limit
    flags : mapping of str to sequence of str
    nearest : Nearest
    stated : mapping of str to int, optional
        See `stated_ranks`.
    """
    stated = stated or {}
    scored = []
    for row_id, result in results.items():
        value = priority(result.metrics, limits, len(result.problems))
        place = -1 if stated and result.problems else stated.get(row_id, math.inf)
        scored.append((place, -value, result.metrics.get("contrast", 0.0), row_id))
    return [
        RankedRow(
            id=row_id,
            rank=rank,
            priority=-value,
            flags=tuple(flags.get(row_id, ())),
            problems=tuple(f"{p.column}: {p.text}" for p in results[row_id].problems),
            nearest=nearest[row_id][0] if row_id in nearest else "",
        )
        for rank, (_, value, _, row_id) in enumerate(sorted(scored), start=1)
    ]


def stated_ranks(rows: Sequence[Row]) -> dict[str, int]:
    """Return the places in the order of review that rows state in the column ``review_rank``.

    Raises
    ------
    ManifestError
        Cells that are no whole number.
    """
    given = [row for row in rows if row[REVIEW_RANK]]
    wrong = [
        f"{row.where(REVIEW_RANK)}: {row[REVIEW_RANK]!r}, expected 1, 2, 3 ..."
        for row in given
        if not row[REVIEW_RANK].isdecimal()
    ]
    if wrong:
        raise ManifestError("order of review", wrong, "Correct or empty these cells.")
    return {row.id: int(row[REVIEW_RANK]) for row in given}


def quality_table(
    ranking: Sequence[RankedRow], rows: Mapping[str, Row], results: Mapping[str, CheckResult]
) -> list[dict[str, object]]:
    """Return the lines of ``quality.csv``.

    Parameters
    ----------
    ranking : sequence of RankedRow
    rows, results : mappings
        By row id.
    """
    lines = []
    for ranked in ranking:
        row = rows[ranked.id]
        metrics = {name: f"{value:.6g}" for name, value in results[ranked.id].metrics.items()}
        lines.append(
            {
                **metrics,
                "rank": ranked.rank,
                "id": ranked.id,
                "priority": f"{ranked.priority:g}",
                "status": row["status"],
                "split": row["split"],
                "flags": row["flags"],
                "problems": "; ".join(ranked.problems),
                "to_do": "; ".join(ranked.flags),
                "nearest": ranked.nearest,
            }
        )
    return lines
