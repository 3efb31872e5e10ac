"""Reads the data set of the previous round."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cytoloop.curation.file_names import DATASET_CSV, DATASET_JSON
from cytoloop.curation.row_cells import with_absolute_paths
from cytoloop.curation.settings import CurationSettings
from cytoloop.curation.splits.names import SPLIT_NAMES, SPLITS
from cytoloop.errors import ManifestError, OutputError
from cytoloop.io.digest import file_hash
from cytoloop.manifest import FILE_COLUMNS, Row, absolute_location, absolute_path, read_manifest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreviousRound:
    """The data set of the previous round; empty where there is none.

    Attributes
    ----------
    rows : dict of str to Row
        By id, with absolute paths.
    splits : dict of str to str
        By id. An image keeps its split in all later rounds.
    folds : dict of str to int
        By id.
    folder : Path or None
    digest : str
        SHA-256 of its ``dataset.csv``.
    record : dict
        Its ``dataset.json``.
    """

    rows: Mapping[str, Row] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)
    folds: Mapping[str, int] = field(default_factory=dict)
    folder: Path | None = None
    digest: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The recorded settings."""
        return self.record.get("settings", {})

    def as_parent(self, output: Path, digest: str, settings: Mapping[str, Any]) -> Any:
        """Return what ``dataset.json`` records of the previous round.

        A run with the same data set in its folder and the same settings is not a new round.

        Parameters
        ----------
        output : Path
            Folder of the new data set.
        digest : str
            SHA-256 of the new ``dataset.csv``.
        settings : mapping
            The new settings as recorded.
        """
        if self.folder is None:
            return None
        in_place = self.folder.resolve() == output.resolve()
        if in_place and not self.record:  # the first round was killed before its record
            return None
        if in_place and self.digest == digest and self.settings == settings:
            return self.record.get("parent")
        counts = self.record.get("counts", {})
        grandparent = self.record.get("parent") or {}
        return {
            "dataset_csv": self.digest,
            "images": counts.get("images", len(self.rows)),
            "round": grandparent.get("round", -1) + 1,
        }


def read_previous_round(settings: CurationSettings) -> PreviousRound:
    """Return the round that this one continues; an empty one for a new data set.

    Raises
    ------
    OutputError
        The output folder is a file, or holds tables that `cytoloop curate` did not write and that
        training would read as splits of the data set.
    ManifestError
        ``parent`` names no data set, or ``dataset.csv`` has wrong splits.
    """
    output = absolute_path(str(settings.output))
    _refuse_other_tables(output)
    if settings.overwrite and not settings.parent:
        return PreviousRound()
    folder = absolute_path(str(settings.parent)) if settings.parent else output
    table = folder / DATASET_CSV
    if not table.is_file():
        if settings.parent:
            raise ManifestError(
                str(folder),
                f"holds no {DATASET_CSV}",
                "Expected a data set that `cytoloop curate` wrote: parent=DIR.",
            )
        return PreviousRound()
    rows = {row.id: with_absolute_paths(row) for row in read_manifest(table, ("raw", "id"))}
    wrong = [
        f"{row.where('split')}: {row['split']!r}; expected train, valid or test"
        for row in rows.values()
        if row["split"] and row["split"] not in SPLIT_NAMES
    ]
    if wrong:
        raise ManifestError(str(table), wrong, "Correct these cells, or restore the file.")
    record = _read_record(folder / DATASET_JSON)
    for row_id, cells in record.get("materialized", {}).items():
        if row_id in rows:  # the files that the target was made from, to make it again
            files = {
                column: absolute_location(text, folder)
                for column, text in cells.items()
                if column in FILE_COLUMNS and text
            }
            rows[row_id].values |= {**cells, **files}
    return PreviousRound(
        rows=rows,
        splits={name: SPLIT_NAMES[row["split"]] for name, row in rows.items() if row["split"]},
        folds={name: int(row["fold"]) for name, row in rows.items() if row["fold"].isdigit()},
        folder=folder,
        digest=file_hash(table),
        record=record,
    )


def _read_record(path: Path) -> dict[str, Any]:
    """Return ``dataset.json``; {} where it is missing or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        log.warning("%s is missing or damaged: settings and number of this round are lost", path)
        return {}
    return found if isinstance(found, dict) else {}


def _refuse_other_tables(folder: Path) -> None:
    """Raise an error if training would read other tables of a folder as splits."""
    if folder.exists() and not folder.is_dir():
        raise OutputError(str(folder), "is a file", "Name a folder: output=DIR.")
    ours = {f"{split}.csv" for split in SPLITS} if (folder / DATASET_CSV).is_file() else set()
    other = sorted(
        path.name
        for path in (*folder.glob("*.csv"), *folder.glob("*.parquet"))
        if path.name not in ours and _is_split_of_cytodl(path.stem)
    )
    if other:
        raise OutputError(
            str(folder),
            f"holds {', '.join(other)}, which `cytoloop curate` did not write: training would "
            "read it as a split of this data set",
            "Take another output folder, or move these files away.",
        )


def _is_split_of_cytodl(stem: str) -> bool:
    """Return whether CytoDL reads a file of this name as a split: it compares beginnings."""
    return any(
        stem.startswith(n) or n.startswith(stem) for n in ("train", "val", "test", "predict")
    )
