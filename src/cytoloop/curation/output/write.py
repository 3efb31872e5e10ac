"""Writing a data set: the manifests and their record, changed together or not at all."""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cytoloop.curation.checks.facts import Facts
from cytoloop.curation.checks.ranking import COLUMNS as QUALITY_COLUMNS
from cytoloop.curation.checks.ranking import Ranked, table
from cytoloop.curation.decisions.log import LOG, Line, read_log, write_log
from cytoloop.curation.output import materialize
from cytoloop.curation.pairing.pairs import Unmatched
from cytoloop.curation.previous.read import RECORD, WHOLE, Earlier, parent_of
from cytoloop.curation.region_cells import is_word, join_parts, split_parts
from cytoloop.curation.region_masks import FOLDER
from cytoloop.curation.settings import CurationSettings
from cytoloop.curation.splits.names import SPLITS
from cytoloop.errors import OutputError
from cytoloop.io.digest import file_hash
from cytoloop.manifest import COLUMNS, FILE_COLUMNS, Row, locate, write_manifest
from cytoloop.urls import is_remote

log = logging.getLogger(__name__)

SCHEMA = 2
QUALITY = "quality.csv"
UNMATCHED = "unmatched.csv"
_TOOLS = ("cytoloop", "numpy", "tifffile", "bioio")
_MADE = (FOLDER, materialize.FOLDER)
"""Folders of images that a curation makes, each named after its content."""


@dataclass(frozen=True)
class Dataset:
    """What is to be written.

    Attributes
    ----------
    rows : list of Row
        All rows; those whose ``status`` is ``keep`` go to the file of their ``split`` too.
    facts : dict of str to Facts
        By id.
    counts : dict of str to int
    ranking : list of Ranked
    unmatched : list of Unmatched
    materialized : dict of str to dict
        Id to the cells that a written target was made from.
    log : list of Line
        All decisions.
    """

    rows: list[Row]
    facts: dict[str, Facts]
    counts: dict[str, int]
    ranking: list[Ranked]
    unmatched: list[Unmatched]
    materialized: dict[str, dict[str, str]]
    log: list[Line]


def write_dataset(dataset: Dataset, settings: CurationSettings, earlier: Earlier) -> list[Path]:
    """Write the tables and ``dataset.json``; return their paths.

    All are written aside and then renamed, ``dataset.json`` last. It holds the hashes of the
    others, so that a set torn by a crash between two renames can be told (and is mended by the
    next run).

    Raises
    ------
    OutputError
        The folder cannot be written to, or relative paths cannot reach the images.
    """
    folder = locate(str(settings.output)).resolve()
    cells = [_cells(row, folder, settings.paths) for row in dataset.rows]
    tables: dict[str, tuple[Sequence[Mapping[str, object]], Sequence[str]]] = {}
    # an empty split still has every column that the others have
    columns = (*COLUMNS, *sorted({name for c in cells for name in c} - set(COLUMNS)))
    tables[WHOLE] = cells, columns
    for split in SPLITS:
        chosen = [c for c in cells if c["status"] == "keep" and c["split"] == split]
        tables[f"{split}.csv"] = chosen, columns
    by_id = {row.id: row for row in dataset.rows}
    tables[QUALITY] = table(dataset.ranking, by_id, dataset.facts), QUALITY_COLUMNS
    if dataset.unmatched:
        tables[UNMATCHED] = _unmatched(dataset.unmatched), ("source", "key", "path", "why")
    temporary = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder, prefix=".curating-"))
        for name, (lines, names) in tables.items():
            write_manifest(temporary / name, lines, names)
        record = _record(cells, dataset, settings)
        record["manifests"] = {name: file_hash(temporary / name) for name in tables}
        record["parent"] = parent_of(
            earlier, folder, record["manifests"][WHOLE], record["settings"]
        )
        text = json.dumps(record, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
        (temporary / RECORD).write_text(text, encoding="utf-8")
        own = folder / LOG
        if dataset.log != (read_log(own) if own.is_file() else []):
            write_log(own, dataset.log)  # decisions from elsewhere are this data set's now
        written = [folder / name for name in (*tables, RECORD)]
        for path in written:
            os.replace(temporary / path.name, path)
        if UNMATCHED not in tables:
            (folder / UNMATCHED).unlink(missing_ok=True)
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


@contextmanager
def swept_on_failure(output: Path) -> Iterator[None]:
    """Remove the images that were made in a data set where the block does not end well."""
    folders = [output / name for name in _MADE]
    before = {path for folder in folders for path in folder.glob("*")}
    new = not output.exists()
    try:
        yield
    except BaseException:
        for folder in folders:
            for path in set(folder.glob("*")) - before:
                path.unlink(missing_ok=True)
            _remove_empty(folder)
        if new:
            _remove_empty(output)
        raise


def _remove_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _cells(row: Row, folder: Path, paths: str) -> dict[str, str]:
    cells = dict(row.values)
    for column in FILE_COLUMNS:
        name = row.named(column)
        cells[column] = _told_path(name, folder, paths) if name else ""
    for kind in ("exclude", "merge"):
        parts = split_parts(row[kind], row.root)
        told = [p if is_word(p) else _told_path(p, folder, paths) for p in parts]
        cells[kind] = join_parts(told)
    return cells


def _told_path(file: str, folder: Path, paths: str) -> str:
    if paths == "absolute" or is_remote(file):
        return file
    try:
        return Path(os.path.relpath(file, folder)).as_posix()
    except ValueError as error:  # Windows, another drive
        raise OutputError(
            str(folder), f"no relative path leads to {file}", "Give paths=absolute."
        ) from error


def _unmatched(unmatched: Iterable[Unmatched]) -> list[dict[str, object]]:
    return [
        {"source": one.source, "key": one.key, "path": str(one.path), "why": one.why}
        for one in unmatched
    ]


def _record(
    cells: Iterable[Mapping[str, str]], dataset: Dataset, settings: CurationSettings
) -> dict[str, Any]:
    """Return what ``dataset.json`` holds; no time and no host, so that it can be repeated."""
    files: dict[str, str] = {}
    images: dict[str, dict[str, Any]] = {}
    for row in cells:
        one = dataset.facts.get(row["id"])
        if one is None:
            continue
        files |= {row[c]: digest for c, digest in one.sha256.items() if row[c]}
        folder = locate(str(settings.output)).resolve()
        files |= {_told_path(p, folder, settings.paths): d for p, d in one.parts.items()}
        images[row["id"]] = {
            "shape": one.shape,
            "spacing_um": one.spacing_um,
            "objects": one.objects,
            "foreground": round(one.foreground, 6),
        }
    return {
        "schema": SCHEMA,
        "settings": settings.recorded(),
        "counts": dict(dataset.counts),
        "files": files,
        "images": images,
        "materialized": _sources_of_targets(dataset, settings),
        "tools": {"python": platform.python_version(), **{name: _version(name) for name in _TOOLS}},
    }


def _sources_of_targets(dataset: Dataset, settings: CurationSettings) -> dict[str, dict[str, str]]:
    folder = locate(str(settings.output)).resolve()
    return {
        name: {
            column: _told_path(text, folder, settings.paths)
            if column in FILE_COLUMNS and text
            else text
            for column, text in cells.items()
        }
        for name, cells in dataset.materialized.items()
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
