"""Writing a data set: the manifests and their record, changed together or not at all."""

from __future__ import annotations

import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cytoloop.curation.facts import Facts
from cytoloop.curation.split import SPLIT_NAMES, SPLITS
from cytoloop.digest import file_hash
from cytoloop.errors import ManifestError, OutputError
from cytoloop.manifest import COLUMNS, FILE_COLUMNS, Row, read_manifest, write_manifest

SCHEMA = 1
WHOLE = "dataset.csv"
RECORD = "dataset.json"
_TOOLS = ("cytoloop", "numpy", "tifffile", "bioio")


def read_earlier(output: str | Path) -> dict[str, str]:
    """Return the split of each id that an earlier round left in a folder; {} for a new one.

    Raises
    ------
    OutputError
        The folder is a file, or holds manifests that `cytoloop curate` did not write and that
        training would mix up with its own.
    ManifestError
        A ``dataset.csv`` that was spoiled since.
    """
    folder = Path(output).expanduser()
    if folder.exists() and not folder.is_dir():
        raise OutputError(str(folder), "is a file", "Name a folder: output=DIR.")
    ours = {f"{split}.csv" for split in SPLITS} if (folder / WHOLE).is_file() else set()
    strange = sorted(
        path.name
        for path in (*folder.glob("*.csv"), *folder.glob("*.parquet"))
        if path.name not in ours and _split_in_cytodl(path.stem)
    )
    if strange:
        raise OutputError(
            str(folder),
            f"holds {', '.join(strange)}, which `cytoloop curate` did not write: training "
            "would take them for a split of this data set",
            "Take another output folder, or move these files away.",
        )
    if not ours:
        return {}
    rows = [row for row in read_manifest(folder / WHOLE, ("raw", "id")) if row["split"]]
    wrong = [
        f"{row.where('split')}: {row['split']!r} is no split"
        for row in rows
        if row["split"] not in SPLIT_NAMES
    ]
    if wrong:
        raise ManifestError(str(folder / WHOLE), wrong, "Expected train, valid or test.")
    return {row.id: SPLIT_NAMES[row["split"]] for row in rows}


def write_dataset(
    output: str | Path,
    rows: Sequence[Row],
    facts: Mapping[str, Facts],
    settings: Mapping[str, Any],
    counts: Mapping[str, int],
    paths: str = "relative",
) -> list[Path]:
    """Write ``dataset.csv``, one CSV a split and ``dataset.json``; return their paths.

    All are written aside and then renamed, ``dataset.json`` last. It holds the hashes of the
    others, so that a set torn by a crash between two renames can be told (and is mended by the
    next run).

    Parameters
    ----------
    output : str or Path
        Folder, made if it is missing.
    rows : sequence of Row
        All rows; those whose ``status`` is ``keep`` go to the file of their ``split`` too.
    facts : mapping of str to Facts
        By id.
    settings, counts : mapping
        Recorded as they are.
    paths : str
        ``relative`` to the folder or ``absolute``.

    Raises
    ------
    OutputError
        The folder cannot be written to, or relative paths cannot reach the images.
    """
    folder = Path(output).expanduser().resolve()
    cells = [_cells(row, folder, paths) for row in rows]
    parts = {WHOLE: cells}
    for split in SPLITS:
        chosen = [c for c in cells if c["status"] == "keep" and c["split"] == split]
        parts[f"{split}.csv"] = chosen
    columns = sorted({name for c in cells for name in c})
    temporary = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder, prefix=".curating-"))
        for name, part in parts.items():
            # an empty split still has every column that the others have
            write_manifest(temporary / name, part, _order(columns))
        record = _record(cells, facts, settings, counts)
        record["manifests"] = {name: file_hash(temporary / name) for name in parts}
        text = json.dumps(record, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
        (temporary / RECORD).write_text(text, encoding="utf-8")
        written = [folder / name for name in (*parts, RECORD)]
        for path in written:
            os.replace(temporary / path.name, path)
    except OSError as error:
        raise OutputError(
            str(output),
            f"cannot be written to: {error.strerror or error}",
            "Check its permissions and the space on the disk, or take another output=DIR.",
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return written


def _cells(row: Row, folder: Path, paths: str) -> dict[str, str]:
    cells = dict(row.values)
    for column in FILE_COLUMNS:
        file = row.file(column)
        if file is None:
            cells[column] = ""
        elif paths == "absolute":
            cells[column] = str(file)
        else:
            try:
                cells[column] = Path(os.path.relpath(file, folder)).as_posix()
            except ValueError as error:  # Windows, another drive
                raise OutputError(
                    str(folder), f"no relative path leads to {file}", "Give paths=absolute."
                ) from error
    return cells


def _record(
    cells: Iterable[Mapping[str, str]],
    facts: Mapping[str, Facts],
    settings: Mapping[str, Any],
    counts: Mapping[str, int],
) -> dict[str, Any]:
    """Return what ``dataset.json`` holds; no time and no host, so that it can be repeated."""
    files: dict[str, str] = {}
    images: dict[str, dict[str, Any]] = {}
    for row in cells:
        one = facts.get(row["id"])
        if one is None:
            continue
        files |= {row[column]: digest for column, digest in one.sha256.items()}
        images[row["id"]] = {
            "shape": one.shape,
            "spacing_um": one.spacing_um,
            "objects": one.objects,
            "foreground": round(one.foreground, 6),
        }
    return {
        "schema": SCHEMA,
        "settings": dict(settings),
        "counts": dict(counts),
        "files": files,
        "images": images,
        "tools": {"python": platform.python_version(), **{name: _version(name) for name in _TOOLS}},
    }


def _order(columns: Iterable[str]) -> tuple[str, ...]:
    return (*COLUMNS, *sorted(set(columns) - set(COLUMNS)))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _split_in_cytodl(stem: str) -> bool:
    """Tell whether CytoDL takes a file of this name for a split (it compares beginnings)."""
    return any(
        stem.startswith(n) or n.startswith(stem) for n in ("train", "val", "test", "predict")
    )
