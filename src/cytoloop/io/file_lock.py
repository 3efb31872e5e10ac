"""Locks of the operating system, on files that exist only as long as a lock is held.

The system releases a lock when its process ends, however that ends, so a lock is never stale.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from cytoloop.errors import OutputError

log = logging.getLogger(__name__)

_WAIT = 60.0
"""Seconds to wait for another process that appends to a file, which takes milliseconds."""


@contextmanager
def held_lock(path: Path, timeout: float = 0) -> Iterator[None]:
    """Hold a lock as long as the block runs.

    The file is removed before the lock is released. A process that opened the file before that
    locks a file that others no longer see; it tries again with a new file.

    Parameters
    ----------
    path : Path
        The file of the lock.
    timeout : float
        Seconds to wait for another process.

    Raises
    ------
    filelock.Timeout
        Another process holds the lock.
    OSError
        The folder cannot be written to.
    """
    try:
        lock = _acquire(path, time.monotonic() + timeout)
    except NotImplementedError:  # filelock before version 4
        log.warning("%s: this file system has no locks: start one writer at a time", path.parent)
        yield
        return
    try:
        yield
    finally:
        if path.is_file() and not path.stat().st_size:  # a lock by content is removed by filelock
            _remove(path)
        lock.release()


@contextmanager
def locked_file(path: str | Path) -> Iterator[None]:
    """Let no other process append to a file as long as the block runs; wait for the others.

    Parameters
    ----------
    path : str or Path
        The file, which may be missing.

    Raises
    ------
    OutputError
        Another process holds the lock for a minute.
    OSError
        The folder cannot be written to.
    """
    path = Path(path)
    try:
        with held_lock(path.with_name(f".{path.name}.lock"), _WAIT):
            yield
    except Timeout:
        raise OutputError(
            str(path), "another process is writing this file", "Try again later."
        ) from None


def _acquire(path: Path, deadline: float) -> FileLock:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            path.touch()
            before = path.stat().st_ino
            lock.acquire(timeout=max(deadline - time.monotonic(), 0))
            if path.stat().st_ino == before:
                return lock
        except FileNotFoundError:  # another process has removed the file, or its empty folder
            pass
        lock.release()
        if time.monotonic() > deadline + _WAIT:
            raise Timeout(str(path))


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # Windows removes no open file
        return
