"""Atomic writes: a file or folder is complete or absent."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_TEMPORARY = re.compile(r"\.\d+\.(?P<old>old\.)?(?P<name>.+)")
"""Name of a temporary file or folder: process, and the name that it will have."""

_DEPTH = 2
"""Sub-folders of output folders that hold files of their own."""


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary file that replaces `path` when the block ends without an error.

    The folder is created if it is missing. A crash leaves the old file or the new file.

    Yields
    ------
    Path
        The file to write, in the same folder and with the same ending.

    Raises
    ------
    OSError
        The folder cannot be written to.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder that replaces `path` when the block ends without an error.

    A crash leaves the old folder, the new folder or, between two renames, none.

    Yields
    ------
    Path
        The folder to create and fill, in the same parent folder and with the same ending.

    Raises
    ------
    OSError
        The parent folder cannot be written to.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    former = path.with_name(f".{os.getpid()}.old.{path.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        yield temporary
        if path.exists():
            path.rename(former)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(former, ignore_errors=True)


def remove_temporaries(folder: Path, depth: int = _DEPTH) -> None:
    """Remove what killed processes left of unfinished writes, in a folder and its sub-folders.

    A former folder whose replacement is missing gets its name back. Call it only where no process
    writes.

    Parameters
    ----------
    folder : Path
    depth : int
        Levels of sub-folders to search; OME-Zarr images are not searched.
    """
    for path in sorted(folder.iterdir()):
        found = _TEMPORARY.fullmatch(path.name)
        is_folder = path.is_dir() and not path.is_symlink()
        if found and found["old"] and not path.with_name(found["name"]).exists():
            path.rename(path.with_name(found["name"]))
        elif found and is_folder:
            shutil.rmtree(path, ignore_errors=True)
        elif found:
            path.unlink(missing_ok=True)
        elif is_folder and depth and path.suffix != ".zarr":
            remove_temporaries(path, depth - 1)
