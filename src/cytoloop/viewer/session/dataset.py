"""A data set as the viewer opens it: rows, decisions, quality, and the order of review."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cytoloop.curation import CurationSettings
from cytoloop.curation.decisions.combine import cell_text
from cytoloop.curation.decisions.latest import Decision, latest_decisions
from cytoloop.curation.decisions.log import read_log
from cytoloop.curation.file_names import CONFLICTS_CSV, DATASET_CSV, DECISIONS_CSV, QUALITY_CSV
from cytoloop.curation.previous.read import read_previous_round
from cytoloop.errors import ManifestError
from cytoloop.manifest import Row, absolute_path, read_table

FILTERS = (
    *("all", "undecided", "kept", "rejected", "flagged", "corrected", "conflict"),
    *("train", "valid", "test"),
)
"""What the queue can be narrowed to."""


@dataclass(frozen=True)
class QueueEntry:
    """An image of the queue.

    Attributes
    ----------
    id : str
    row : Row
        With absolute paths; its segmentations are those of the sources.
    rank : int
        Place in the order of review, from 1.
    flags : str
        Names of the metrics outside their limits.
    to_do : str
        What the flags mean and what to do.
    """

    id: str
    row: Row
    rank: int
    flags: str = ""
    to_do: str = ""


@dataclass
class Dataset:
    """A data set folder and its decisions.

    Attributes
    ----------
    folder : Path
        Absolute.
    entries : list of QueueEntry
        In the order of review.
    decisions : dict of str to Decision
        By id; images without a line in the log are missing.
    rules : tuple of str
        Region rules of the data set's settings.
    merge_rule : str
    round : int
        Number of this round, from 0.
    conflicts : list of dict
        Rows of ``conflicts.csv``.
    """

    folder: Path
    entries: list[QueueEntry]
    decisions: dict[str, Decision] = field(default_factory=dict)
    rules: tuple[str, ...] = ()
    merge_rule: str = "clip"
    round: int = 0
    conflicts: list[dict[str, str]] = field(default_factory=list)

    @property
    def log(self) -> Path:
        """The decisions log."""
        return self.folder / DECISIONS_CSV

    def decision(self, row_id: str) -> Decision:
        """Return the decision on an image; "undecided" where there is none."""
        return self.decisions.get(row_id, Decision())

    def entry(self, row_id: str) -> QueueEntry:
        """Return an image by its id."""
        return next(entry for entry in self.entries if entry.id == row_id)

    def read_decisions(self) -> None:
        """Read the log again: other curators may have appended to it.

        Raises
        ------
        ManifestError
            The log has problems.
        """
        self.decisions = latest_decisions(read_log(self.log)) if self.log.is_file() else {}

    def state(self, entry: QueueEntry) -> str:
        """Return ``keep``, ``reject`` or ``undecided``."""
        return self.decision(entry.id).decision

    def conflict(self, row_id: str) -> str:
        """Return what another curator decided differently, "" if nothing or if it was changed."""
        now = self.decision(row_id)
        return "\n".join(
            f"{row['column']}: {row['mine'] or 'nothing'} here, "
            f"{row['theirs'] or 'nothing'} by {row['their_curator'] or row['log']}"
            for row in self.conflicts
            if row["id"] == row_id and cell_text(now, row["column"]) == row[row["used"]]
        )

    def filtered(self, name: str, text: str = "") -> list[QueueEntry]:
        """Return the images of a filter whose id contains a text."""
        words = {"kept": "keep", "rejected": "reject", "undecided": "undecided"}

        def is_in(entry: QueueEntry) -> bool:
            if name in words:
                return self.state(entry) == words[name]
            if name == "flagged":
                return bool(entry.flags)
            if name == "corrected":
                return bool(self.decision(entry.id).labels)
            if name == "conflict":
                return bool(self.conflict(entry.id))
            return name == "all" or entry.row["split"] == name

        return [e for e in self.entries if is_in(e) and text.lower() in e.id.lower()]

    def counts(self) -> dict[str, int]:
        """Return the number of images by decision."""
        states = [self.state(entry) for entry in self.entries]
        return {name: states.count(name) for name in ("keep", "reject", "undecided")}


def open_dataset(folder: str | Path) -> Dataset:
    """Return a data set, ready to be reviewed.

    Raises
    ------
    ManifestError
        The folder holds no data set, or its tables have problems.
    """
    path = absolute_path(str(folder))
    if path.name == DATASET_CSV:
        path = path.parent
    if not (path / DATASET_CSV).is_file():
        raise ManifestError(
            str(path),
            f"holds no {DATASET_CSV}",
            "Choose the folder of a data set, or make one in the panel Data.",
        )
    found = read_previous_round(CurationSettings(output=path))
    quality = _read_quality(path)
    settings = found.settings
    entries = [
        QueueEntry(
            row_id,
            row,
            int(quality.get(row_id, {}).get("rank") or len(found.rows)),
            quality.get(row_id, {}).get("flags", ""),
            quality.get(row_id, {}).get("to_do", ""),
        )
        for row_id, row in found.rows.items()
    ]
    entries.sort(key=lambda entry: (entry.rank, entry.id))
    parent = found.record.get("parent") or {}
    dataset = Dataset(
        path,
        entries,
        rules=_texts(settings.get("exclude_rules")),
        merge_rule=str(settings.get("merge_rule") or "clip"),
        round=int(parent.get("round", -1)) + 1,
        conflicts=read_table(path / CONFLICTS_CSV)[2] if (path / CONFLICTS_CSV).is_file() else [],
    )
    dataset.read_decisions()
    return dataset


def rank_by_disagreement(dataset: Dataset, disagreement: Mapping[str, float]) -> None:
    """Sort the queue by the disagreement with a model, highest first; others keep their order."""
    dataset.entries.sort(key=lambda entry: -disagreement.get(entry.id, -1.0))


def _read_quality(folder: Path) -> dict[str, dict[str, str]]:
    path = folder / QUALITY_CSV
    if not path.is_file():
        return {}
    return {record["id"]: record for record in read_table(path)[2]}


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, Sequence) and value else ()
