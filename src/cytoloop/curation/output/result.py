"""The result of a curation, and the counts of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cytoloop.curation.checks.ranking import RankedRow
from cytoloop.curation.checks.result import CheckResult
from cytoloop.curation.decisions.join import Logs
from cytoloop.curation.pairing.unmatched import Unmatched
from cytoloop.curation.splits.names import SPLITS
from cytoloop.manifest import Row


@dataclass(frozen=True)
class CurationResult:
    """The result of a curation.

    Attributes
    ----------
    rows : list of Row
        All rows, kept and rejected, as in ``dataset.csv`` but with absolute paths.
    checks : dict of str to CheckResult
        By id, of all rows that were checked. Rows that a curator rejected are not checked.
    ranking : list of RankedRow
        The checked rows in the order of review.
    unmatched : list of Unmatched
        Files that are in no row.
    made_from : dict of str to dict
        Row id to the cells that a merged target or corrected labels replace.
    logs : Logs
        The decisions logs.
    files : list of Path
        The files written.
    """

    rows: list[Row]
    checks: dict[str, CheckResult]
    ranking: list[RankedRow] = field(default_factory=list)
    unmatched: list[Unmatched] = field(default_factory=list)
    made_from: dict[str, dict[str, str]] = field(default_factory=dict)
    logs: Logs = field(default_factory=lambda: Logs([], [], []))
    files: list[Path] = field(default_factory=list)

    @property
    def kept(self) -> list[Row]:
        """The rows that are not rejected."""
        return [row for row in self.rows if row["status"] == "keep"]

    @property
    def counts(self) -> dict[str, int]:
        """``images``, ``keep``, ``reject``, ``unmatched``, ``train``, ``valid``, ``test``."""
        return count_rows(self.rows, self.unmatched)


def count_rows(rows: Sequence[Row], unmatched: Sequence[Unmatched] = ()) -> dict[str, int]:
    """Return the number of rows by status and split.

    Raises
    ------
    RuntimeError
        The numbers do not add up, which is a bug.
    """
    keep = [row for row in rows if row["status"] == "keep"]
    raw_unmatched = sum(one.source == "raw" for one in unmatched)
    counts = {
        "images": len(rows) + raw_unmatched,
        "keep": len(keep),
        "unmatched": raw_unmatched,
        "reject": sum(row["status"] == "reject" for row in rows),
        **{split: sum(row["split"] == split for row in keep) for split in SPLITS},
    }
    if counts["images"] != counts["keep"] + counts["reject"] + counts["unmatched"]:
        raise RuntimeError(f"rows were lost while curating: {counts}")
    if counts["keep"] != sum(counts[split] for split in SPLITS):
        raise RuntimeError(f"rows are in no split: {counts}")
    return counts
