"""Writes the tables and the record of a data set: all of them change, or none."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from cytoloop.curation.checks.ranking import QUALITY_COLUMNS, quality_table
from cytoloop.curation.decisions.join import append_other_logs
from cytoloop.curation.file_names import (
    DATASET_CSV,
    DATASET_JSON,
    DECISIONS_CSV,
    QUALITY_CSV,
    UNMATCHED_CSV,
)
from cytoloop.curation.output.made_images import remove_leftovers
from cytoloop.curation.output.paths import TablePaths
from cytoloop.curation.output.record import dataset_record
from cytoloop.curation.output.result import CurationResult
from cytoloop.curation.previous.read import PreviousRound
from cytoloop.curation.settings import CurationSettings
from cytoloop.curation.splits.names import SPLITS
from cytoloop.errors import OutputError
from cytoloop.io.digest import file_hash
from cytoloop.manifest import COLUMNS, write_manifest

Tables = dict[str, tuple[Sequence[Mapping[str, object]], Sequence[str]]]
"""File name to lines and columns."""

_STAGING = ".curating-"


def write_dataset(
    result: CurationResult, settings: CurationSettings, previous: PreviousRound
) -> list[Path]:
    """Write the tables, ``dataset.json`` and the decisions log; return tables and record.

    The files are written to a temporary folder and then renamed, ``dataset.json`` last. It contains
    the hashes of the tables, so a data set left by a crash between two renames can be detected.
    The next run repairs it. With ``overwrite``, images and report of the old data set are removed
    at the end.

    Raises
    ------
    OutputError
        The folder cannot be written to, or has no relative path to the images.
    """
    paths = TablePaths.of(settings)
    folder = paths.folder
    cells = [paths.cells(row) for row in result.rows]
    tables = _tables(result, cells)
    temporary = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f"{_STAGING}*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(dir=folder, prefix=_STAGING))
        for name, (lines, columns) in tables.items():
            write_manifest(temporary / name, lines, columns)
        record = dataset_record(result, cells, settings, paths)
        record["manifests"] = {name: file_hash(temporary / name) for name in tables}
        record["parent"] = previous.as_parent(
            folder, record["manifests"][DATASET_CSV], record["settings"]
        )
        text = json.dumps(record, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
        (temporary / DATASET_JSON).write_text(text, encoding="utf-8")
        append_other_logs(folder / DECISIONS_CSV, result.logs)
        written = [folder / name for name in (*tables, DATASET_JSON)]
        for path in written:
            os.replace(temporary / path.name, path)
        if UNMATCHED_CSV not in tables:
            (folder / UNMATCHED_CSV).unlink(missing_ok=True)
        if settings.overwrite:
            remove_leftovers(folder, result.rows)
    except OSError as error:
        raise OutputError(
            str(settings.output),
            f"cannot be written to: {error.strerror or error}",
            "Check its permissions and the space on the disk, or take another output=DIR.",
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return written


def _tables(result: CurationResult, cells: Sequence[Mapping[str, str]]) -> Tables:
    """Return all tables of a data set, in the order of writing."""
    extra_columns = sorted({name for row in cells for name in row} - set(COLUMNS))
    columns = (*COLUMNS, *extra_columns)  # an empty split has the same columns as the others
    tables: Tables = {DATASET_CSV: (cells, columns)}
    for split in SPLITS:
        chosen = [row for row in cells if row["status"] == "keep" and row["split"] == split]
        tables[f"{split}.csv"] = chosen, columns
    by_id = {row.id: row for row in result.rows}
    tables[QUALITY_CSV] = quality_table(result.ranking, by_id, result.checks), QUALITY_COLUMNS
    if result.unmatched:
        lines = [
            {"source": one.source, "key": one.key, "path": str(one.path), "why": one.why}
            for one in result.unmatched
        ]
        tables[UNMATCHED_CSV] = lines, ("source", "key", "path", "why")
    return tables
