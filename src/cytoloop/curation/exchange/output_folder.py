"""Folders of exports: written aside and renamed, and never over the work of others."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cytoloop.errors import OutputError, listed
from cytoloop.io.digest import file_hash
from cytoloop.manifest import FILE_COLUMNS, Row
from cytoloop.urls import is_remote

RECORD = "export.json"
"""File of an export that names its files with their hashes: what may be replaced."""


@dataclass(frozen=True)
class Export:
    """What an export left.

    Attributes
    ----------
    folder : Path
    files : tuple of Path
        Everything that was written, sorted.
    left_out : mapping of str to str
        Id of each row that the format cannot hold, and why.
    """

    folder: Path
    files: tuple[Path, ...]
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class Stage:
    """A folder in the making.

    Attributes
    ----------
    path : Path
        Where its files are written.
    final : Path
        Where they will be, absolute: what its manifests must name.
    """

    path: Path
    final: Path


@contextmanager
def replace_folder(folder: str | Path, kind: str, rows: Iterable[Row]) -> Iterator[Stage]:
    """Make a folder that appears whole at the end of the block, or not at all.

    Parameters
    ----------
    folder : str or Path
        New, empty, or an export of the same kind in which nothing was changed or added since.
    kind : str
        Name of the format.
    rows : iterable of Row
        Whose files the export refers to: none of them may lie in the folder to be replaced.

    Raises
    ------
    OutputError
        The folder holds anything else, or cannot be written.
    """
    final = Path(folder).expanduser().resolve()
    stage = Stage(final.with_name(f".{final.name}-{uuid.uuid4().hex[:8]}"), final)
    try:
        _check_free(final, kind, rows)
        stage.path.mkdir(parents=True)
        yield stage
        hashes = {
            path.relative_to(stage.path).as_posix(): file_hash(path)
            for path in sorted(stage.path.rglob("*"))
            if path.is_file()
        }
        record = json.dumps({"kind": kind, "files": hashes}, indent=1, ensure_ascii=False)
        (stage.path / RECORD).write_text(record + "\n", encoding="utf-8")
        _swap(stage.path, final)
    except OSError as error:
        raise OutputError(
            str(folder),
            f"cannot be written: {error.strerror or error}",
            "Check its permissions and the space on the disk, or take another folder.",
        ) from error
    finally:
        shutil.rmtree(stage.path, ignore_errors=True)


def list_files(folder: Path) -> tuple[Path, ...]:
    """Return all files in a folder and its folders, sorted."""
    return tuple(sorted(path for path in folder.rglob("*") if path.is_file()))


def _check_free(final: Path, kind: str, rows: Iterable[Row]) -> None:
    repair = "Take another folder, or move these files away."
    if final.exists() and not final.is_dir():
        raise OutputError(str(final), "is a file", "Name a folder.")
    if not final.is_dir() or not any(final.iterdir()):
        return
    known = _recorded(final, kind)
    strange = [
        path.relative_to(final).as_posix()
        for path in list_files(final)
        if path != final / RECORD
        and known.get(path.relative_to(final).as_posix()) != file_hash(path)
    ]
    if strange or not known:
        raise OutputError(
            str(final),
            f"holds {listed(strange)}, not written by an export ({kind}) or changed since",
            repair,
        )
    inside = {
        name
        for row in rows
        for name in map(row.named, FILE_COLUMNS)
        if name and not is_remote(name) and Path(name).resolve().is_relative_to(final)
    }
    if inside:
        raise OutputError(
            str(final),
            f"would be replaced, but the rows come from it: {listed(sorted(inside))}",
            "Take another folder.",
        )


def _recorded(final: Path, kind: str) -> dict[str, str]:
    """Return the hashes of the files of an earlier export of a kind; {} if it is none."""
    try:
        record = json.loads((final / RECORD).read_text(encoding="utf-8"))
        return dict(record["files"]) if record["kind"] == kind else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _swap(new: Path, final: Path) -> None:
    """Put a folder in the place of another, which stays if that fails."""
    if not final.exists():
        new.rename(final)
        return
    old = new.with_name(f"{new.name}-old")
    final.rename(old)
    try:
        new.rename(final)
    except OSError:
        old.rename(final)
        raise
    shutil.rmtree(old, ignore_errors=True)
