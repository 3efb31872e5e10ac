"""Folders that appear whole or not at all."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cytoloop.errors import OutputError


def output_problems(output: str | Path, source: str | Path) -> list[str]:
    """Return why a folder cannot take what is made from a source; nothing where it can."""
    folder, origin = (Path(p).expanduser().resolve() for p in (output, source))
    if origin.is_dir() and folder.is_relative_to(origin):
        return [f"output={output} is inside {source}, which it is made from"]
    if folder.exists() and not folder.is_dir():
        return [f"output={output} is a file"]
    if folder.is_dir() and any(folder.iterdir()):
        return [f"output={output} is not empty: nothing is written over the work of a person"]
    return []


@contextmanager
def new_folder(folder: str | Path) -> Iterator[Path]:
    """Make a folder that appears at the end of the block; it must be new or empty.

    Yields
    ------
    Path
        A folder beside it, to be filled.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    final = Path(folder).expanduser().resolve()
    stage = final.with_name(f".{final.name}-{uuid.uuid4().hex[:8]}")
    try:
        stage.mkdir(parents=True)
        yield stage
        if final.is_dir():
            final.rmdir()
        stage.rename(final)
    except OSError as error:
        raise OutputError(
            str(folder),
            f"cannot be written: {error.strerror or error}",
            "Check its permissions and the space on the disk, or take another folder.",
        ) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
