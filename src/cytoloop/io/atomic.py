"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Write a file aside; it takes the place of `path` where the block ends well.

    The folder is made if it is missing. A crash leaves the old file or the new one.

    Yields
    ------
    Path
        The file to write, beside `path` and with its ending.

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
    """Fill a folder aside; it takes the place of `path` where the block ends well.

    A crash leaves the old folder, the new one, or (between two renames) none; never half of one.

    Yields
    ------
    Path
        The folder to fill, beside `path` and with its ending; it does not exist yet.

    Raises
    ------
    OSError
        The place cannot be written to.
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
