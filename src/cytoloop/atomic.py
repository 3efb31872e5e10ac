"""Files that appear whole or not at all."""

from __future__ import annotations

import os
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
