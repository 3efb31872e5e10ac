"""Digests: what a data set was made of, whatever its files are called."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from cytoloop.manifest import FILE_COLUMNS, Manifest


def file_hash(path: str | Path) -> str:
    """Return the SHA-256 of a file, or of all files of a folder (OME-Zarr) with their names."""
    path = Path(path)
    digest = hashlib.sha256()
    members = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for member in members:
        if path.is_dir():
            digest.update(member.relative_to(path).as_posix().encode() + b"\0")
        with member.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def dataset_hash(manifests: Mapping[str, Manifest]) -> str:
    """Return a digest of a data set: its rows and the contents of every file they name."""
    digest = hashlib.sha256()
    for split in sorted(manifests):
        for row in manifests[split]:
            cells = {n: v for n, v in row.values.items() if n not in FILE_COLUMNS and v}
            digest.update(repr((split, row.id, sorted(cells.items()))).encode())
            for column in FILE_COLUMNS:
                file = row.file(column)
                if file is not None and file.exists():
                    digest.update(f"{column}={file_hash(file)};".encode())
    return digest.hexdigest()
