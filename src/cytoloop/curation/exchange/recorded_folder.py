"""Output folders that appear complete or not at all, and are replaced only if nobody changed them.

A record in each folder lists the written files with their hashes. A folder with other files, or
with files that changed since, is never replaced.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cytoloop.errors import OutputError, join_names
from cytoloop.home import expand_home
from cytoloop.io.digest import file_hash
from cytoloop.manifest import FILE_COLUMNS, Row
from cytoloop.urls import is_remote


@dataclass(frozen=True)
class ExportResult:
    """What an export wrote and left out.

    Attributes
    ----------
    folder : Path
    files : tuple of Path
        All written files, sorted.
    left_out : mapping of str to str
        Row ids that the format cannot represent, with the reason.
    """

    folder: Path
    files: tuple[Path, ...]
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class StagingFolder:
    """A temporary folder that becomes the output folder.

    Attributes
    ----------
    path : Path
        Where to write the files now.
    final : Path
        Absolute path of the output folder, for manifests that name their own files.
    """

    path: Path
    final: Path


@contextmanager
def replace_folder(
    folder: str | Path, writer: str, rows: Iterable[Row] = (), record: str = "export.json"
) -> Iterator[StagingFolder]:
    """Yield a temporary folder that becomes `folder` when the block ends without an error.

    Parameters
    ----------
    folder : str or Path
        A new folder, an empty one, or one that the same writer filled and nobody changed.
    writer : str
        Name of the format or command, kept in the record.
    rows : iterable of Row
        Rows whose files the output is made from or refers to. None of these files may be in the
        folder.
    record : str
        File name of the record.

    Raises
    ------
    OutputError
        The folder holds other files or changed files, or cannot be written.
    """
    final = expand_home(folder).resolve()
    staging = StagingFolder(final.with_name(f".{final.name}-{uuid.uuid4().hex[:8]}"), final)
    try:
        _check_replaceable(final, writer, rows, record)
        staging.path.mkdir(parents=True)
        yield staging
        hashes = {
            path.relative_to(staging.path).as_posix(): file_hash(path)
            for path in list_files(staging.path)
        }
        content = json.dumps({"kind": writer, "files": hashes}, indent=1, ensure_ascii=False)
        (staging.path / record).write_text(content + "\n", encoding="utf-8")
        _swap(staging.path, final)
    except OSError as error:
        raise OutputError(
            str(folder),
            f"cannot be written: {error.strerror or error}",
            "Check its permissions and the free disk space, or take another folder.",
        ) from error
    finally:
        shutil.rmtree(staging.path, ignore_errors=True)


def was_written_by(folder: Path, writer: str, record: str = "export.json") -> bool:
    """Return whether a folder has the record of a writer."""
    return bool(_recorded_hashes(folder / record, writer))


def list_files(folder: Path) -> tuple[Path, ...]:
    """Return all files in a folder and its subfolders, sorted."""
    return tuple(sorted(path for path in folder.rglob("*") if path.is_file()))


def _check_replaceable(final: Path, writer: str, rows: Iterable[Row], record: str) -> None:
    if final.exists() and not final.is_dir():
        raise OutputError(str(final), "is a file, expected a folder", "Name a folder.")
    if not final.is_dir() or not any(final.iterdir()):
        return
    written = _recorded_hashes(final / record, writer)
    names = {path.relative_to(final).as_posix(): path for path in list_files(final)}
    names.pop(record, None)
    others = [name for name, path in names.items() if written.get(name) != file_hash(path)]
    if others or not written:
        raise OutputError(
            str(final),
            f"holds {join_names(others) or 'empty folders'}: not written by {writer}, or changed "
            "since",
            "Move these files away, or take another folder.",
        )
    used = {
        name
        for row in rows
        for name in map(row.location, FILE_COLUMNS)
        if name and not is_remote(name) and Path(name).resolve().is_relative_to(final)
    }
    if used:
        raise OutputError(
            str(final),
            f"cannot be replaced, because the rows use files in it: {join_names(sorted(used))}",
            "Take another folder.",
        )


def _recorded_hashes(record: Path, writer: str) -> dict[str, str]:
    """Return the hashes of the files that `writer` wrote; {} without a valid record."""
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        return dict(content["files"]) if content["kind"] == writer else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _swap(new: Path, final: Path) -> None:
    """Rename a folder to `final`; an older folder is restored if that fails."""
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
