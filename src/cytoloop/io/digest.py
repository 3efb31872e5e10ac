"""SHA-256 of files and folders."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cytoloop.errors import ImageError
from cytoloop.io.file_kind import special_kind
from cytoloop.io.multi_file import members_of


def file_hash(path: str | Path) -> str:
    """Return the SHA-256 of a file; for a folder (OME-Zarr), of its file names and contents.

    Raises
    ------
    ImageError
        The path is a pipe or a device.
    """
    path = Path(path)
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
