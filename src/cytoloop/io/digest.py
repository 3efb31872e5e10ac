"""SHA-256 of files and folders."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cytoloop.io.multi_file import members_of


def file_hash(path: str | Path) -> str:
    """Return the SHA-256 of a file; for a folder (OME-Zarr), of its file names and contents."""
    path = Path(path)
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
