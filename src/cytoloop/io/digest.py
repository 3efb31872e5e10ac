"""SHA-256 of files and folders."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from cytoloop.errors import ImageError
from cytoloop.io.file_kind import special_kind
from cytoloop.io.multi_file import members_of

_FRESH_NS = 2 * 10**9
_known: dict[Path, tuple[tuple[int, ...], str]] = {}
"""State and hash of the files that this process has read."""


def file_hash(path: str | Path) -> str:
    """Return the SHA-256 of a file; for a folder (OME-Zarr), of its file names and contents.

    Raises
    ------
    ImageError
        The path is a pipe or a device.
    """
    path = Path(path)
    state = _state(path)
    if state is not None and (known := _known.get(path)) is not None and known[0] == state:
        return known[1]  # many rows are planes or time points of one file
    digest = _hash(path)
    if state is not None:
        _known[path] = (state, digest)
    return digest


def _state(path: Path) -> tuple[int, ...] | None:
    """Return what changes when a file is written; None for a folder and for a fresh file.

    A file that was changed a moment ago may change again within the resolution of its time.
    """
    try:
        found = path.stat()
    except OSError:
        return None
    is_fresh = time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) < _FRESH_NS
    if is_fresh or not path.is_file():
        return None
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_dev, found.st_ino)


def _hash(path: Path) -> str:
    if kind := special_kind(path):
        raise ImageError(str(path), f"is {kind}, expected a file", "Save it as a file.")
    digest = hashlib.sha256()
    members = members_of(path)
    if path.is_dir():
        members = sorted(p for p in path.rglob("*") if p.is_file())
    for member in members:
        if path.is_dir():
            digest.update(member.relative_to(path).as_posix().encode() + b"\0")
        with member.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
