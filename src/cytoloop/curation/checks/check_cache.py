"""A database of check results: rows whose files have not changed are not checked again.

A result is stored under the hashes of the row's files and the options of the check. A file is not
hashed again while its size, inode and times are those of an earlier run.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from dataclasses import dataclass, replace
from pathlib import Path

from cytoloop.curation.checks.result import CheckResult
from cytoloop.curation.checks.row import CheckOptions
from cytoloop.curation.region_masks import Regions
from cytoloop.errors import CytoloopError
from cytoloop.io.names import path_in_url
from cytoloop.io.remote import local_path
from cytoloop.manifest import SELECTION_COLUMNS, Row

_VERSION = 4
"""Version of the checks and metrics. Results of other versions are not used."""

_WRITE_SECONDS = 1.0
"""Results are written together once a second: each write waits for the disk."""

_STABLE_AGE_NS = 2_000_000_000
"""A younger file could have changed after it was hashed without a change of its times."""


@dataclass(frozen=True)
class CheckJob:
    """A row to check, with the regions that its masks are made from."""

    row: Row
    regions: Regions

    def file_names(self) -> list[str]:
        """Return the absolute paths and URLs of all files of the row."""
        named = [self.row.location(column) for column in ("raw", "seg1", "seg2")]
        return [*(name for name in named if name), *self.regions.effective().files]


class CheckCache:
    """A database of check results.

    Parameters
    ----------
    path : Path or None
        None: results are kept in memory only.
    """

    def __init__(self, path: Path | None) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self.database = sqlite3.connect(":memory:" if path is None else path, timeout=60)
        self.database.execute(
            "create table if not exists results (key text primary key, result text)"
        )
        self.database.execute(
            "create table if not exists hashes (path text primary key, state text, hash text)"
        )
        self._waiting: list[tuple[str, tuple[str, ...]]] = []
        self._written = time.monotonic()

    def close(self) -> None:
        """Write what is waiting, and close the database."""
        try:
            self._write()
        finally:
            self.database.close()

    def get(self, job: CheckJob, options: CheckOptions) -> CheckResult | None:
        """Return the stored result of a job, None where there is none for the present files."""
        try:
            hashes = {name: self._known_hash(path) for name, path in _local_paths(job).items()}
        except CytoloopError:
            return None  # a URL cannot be read; the check makes it a problem
        if not hashes or None in hashes.values():
            return None
        key = _key(job, options, {name: str(digest) for name, digest in hashes.items()})
        line = self.database.execute("select result from results where key = ?", (key,)).fetchone()
        if line is None:
            return None
        result = CheckResult.from_json(line[0])
        # a mask image that this check wrote may have been removed since
        if any(file and not local_path(file).exists() for file in result.masks.values()):
            return None
        return replace(result, id=job.row.id)

    def put(self, job: CheckJob, options: CheckOptions, result: CheckResult) -> None:
        """Store the result of a job, and the hashes of its files, at the latest by `close`."""
        hashes = {job.row.location(column): digest for column, digest in result.sha256.items()}
        hashes |= result.region_sha256
        if set(hashes) != set(job.file_names()):
            return  # a missing file may be added later
        paths = _local_paths(job)
        for name, digest in hashes.items():
            state = _file_state(paths[name])
            if state is not None and _is_stable(paths[name]):
                self._waiting.append(("hashes", (paths[name], state, digest)))
        self._waiting.append(("results", (_key(job, options, hashes), result.to_json())))
        if time.monotonic() - self._written > _WRITE_SECONDS:
            self._write()

    def _write(self) -> None:
        """Write all waiting entries in one transaction."""
        with self.database:
            for table, values in self._waiting:
                places = ", ".join("?" * len(values))
                self.database.execute(f"insert or replace into {table} values ({places})", values)
        self._waiting.clear()
        self._written = time.monotonic()

    def _known_hash(self, path: str) -> str | None:
        """Return the stored hash of a file, None where the file has changed or is unknown."""
        state = _file_state(path)
        line = self.database.execute(
            "select state, hash from hashes where path = ?", (path,)
        ).fetchone()
        if state is None or line is None or state != line[0]:
            return None
        return str(line[1])


def _local_paths(job: CheckJob) -> dict[str, str]:
    """Return each file's name to its path; to the path of the local copy for a URL."""
    return {name: str(local_path(name)) for name in job.file_names()}


def _members(path: str) -> list[Path]:
    """Return a file, or all files of a folder (OME-Zarr)."""
    return sorted(Path(path).rglob("*")) if Path(path).is_dir() else [Path(path)]


def _is_stable(path: str) -> bool:
    """Return whether a file's last change is long enough ago for a later change to be seen."""
    try:
        newest = max(member.stat().st_mtime_ns for member in (Path(path), *_members(path)))
    except OSError:
        return False
    return newest < time.time_ns() - _STABLE_AGE_NS


def _file_state(path: str) -> str | None:
    """Return the size, times and inode of a file, or of all files in a folder; None if missing.

    Inode and time of change tell two files apart that have the same size and swap names.
    """
    try:
        stats = [member.stat() for member in _members(path)]
    except OSError:
        return None
    found = [(s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino) for s in stats]
    return hashlib.sha256(repr(found).encode()).hexdigest() if len(found) > 1 else repr(found)


def _key(job: CheckJob, options: CheckOptions, hashes: dict[str, str]) -> str:
    """Return the hash of everything that the result of a job depends on."""
    row, regions = job.row, job.regions.effective()
    # the messages of problems contain file names, so the names count too
    files = {c: (_file_name(row[c]), hashes.get(row.location(c))) for c in ("raw", "seg1", "seg2")}
    parts = [
        [(_file_name(part), hashes[part]) if part in hashes else part for part in kind]
        for kind in (regions.exclude, regions.merge)
    ]
    values = [_VERSION, files, parts, [row[c] for c in SELECTION_COLUMNS], options.instances]
    values += [str(options.mask_folder), row.id] if any(parts) else []
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _file_name(text: str) -> str:
    return Path(path_in_url(text)).name
