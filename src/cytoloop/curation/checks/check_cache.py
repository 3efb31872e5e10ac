"""What the checks found, remembered from run to run in a small database."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from dataclasses import dataclass, replace
from pathlib import Path

from cytoloop.curation.checks.facts import Facts
from cytoloop.curation.checks.rows import Extras
from cytoloop.curation.region_masks import Regions
from cytoloop.errors import CytoloopError
from cytoloop.io.names import path_in_url
from cytoloop.io.remote import local_path
from cytoloop.manifest import SELECTION_COLUMNS, Row

_VERSION = 2
"""Of the checks and figures: findings of another version are not used."""

_SETTLED_NS = 2_000_000_000
"""A file changed this shortly before it was hashed may have changed since, unseen."""


@dataclass(frozen=True)
class Candidate:
    """A row that is to be inspected, with what its masks are made from."""

    row: Row
    regions: Regions


class Memory:
    """The database of findings; one that keeps nothing where no path is given."""

    def __init__(self, path: Path | None) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self.base = sqlite3.connect(":memory:" if path is None else path, timeout=60)
        self.base.execute("create table if not exists facts (key text primary key, facts text)")
        self.base.execute(
            "create table if not exists known_files "
            "(path text primary key, state text, settled int, hash text)"
        )

    def close(self) -> None:
        """Close the database."""
        self.base.close()

    def recall(self, candidate: Candidate, extras: Extras) -> Facts | None:
        """Return what is known of a candidate, None if its files were not seen like this."""
        try:
            hashes = {name: self._hash(path) for name, path in _files(candidate).items()}
        except CytoloopError:
            return None  # a URL that leads nowhere: the checks will tell
        if not hashes or None in hashes.values():
            return None
        key = _key(candidate, extras, {n: str(h) for n, h in hashes.items()})
        line = self.base.execute("select facts from facts where key = ?", (key,)).fetchone()
        if line is None:
            return None
        facts = Facts.from_json(line[0])
        # a mask that was written then may have been swept away since
        if any(file and not local_path(file).exists() for file in facts.masks.values()):
            return None
        return replace(facts, id=candidate.row.id)

    def keep(self, candidate: Candidate, extras: Extras, facts: Facts) -> None:
        """Write down what was found, and the hashes by which it was found."""
        hashes = {candidate.row.location(c): digest for c, digest in facts.sha256.items()}
        hashes |= facts.parts
        if set(hashes) != set(file_names(candidate)):
            return  # a file is missing; it may come
        paths = _files(candidate)
        with self.base:
            for name, digest in hashes.items():
                path = paths[name]
                state = _state(path)
                if state is not None:
                    self.base.execute(
                        "insert or replace into known_files values (?, ?, ?, ?)",
                        (path, state, _settled(path), digest),
                    )
            self.base.execute(
                "insert or replace into facts values (?, ?)",
                (_key(candidate, extras, hashes), facts.to_json()),
            )

    def _hash(self, path: str) -> str | None:
        """Return the hash of a file that is as it was, None for another."""
        state = _state(path)
        line = self.base.execute("select * from known_files where path = ?", (path,)).fetchone()
        if state is None or line is None or state != line[1] or not line[2]:
            return None
        return str(line[3])


def _settled(path: str) -> bool:
    """Tell whether a file was last changed long enough ago for a later change to show."""
    try:
        members = [Path(path), *Path(path).rglob("*")] if Path(path).is_dir() else [Path(path)]
        newest = max(member.stat().st_mtime_ns for member in members)
    except OSError:
        return False
    return newest < time.time_ns() - _SETTLED_NS


def file_names(candidate: Candidate) -> list[str]:
    """Return the absolute paths and URLs of the files of a candidate."""
    named = [candidate.row.location(column) for column in ("raw", "seg1", "seg2")]
    return [*(name for name in named if name), *candidate.regions.effective().files]


def _files(candidate: Candidate) -> dict[str, str]:
    """Return the path of each file by its name: of a URL that of its copy."""
    return {name: str(local_path(name)) for name in file_names(candidate)}


def _state(path: str) -> str | None:
    """Return what changes when a file does: size, inode and times; of all in a folder (OME-Zarr).

    Two files of one size and time that change names have other inodes, or times of change.
    """
    try:
        members = sorted(Path(path).rglob("*")) if Path(path).is_dir() else [Path(path)]
        found = [member.stat() for member in members]
    except OSError:
        return None
    facts = [(m.st_size, m.st_mtime_ns, m.st_ctime_ns, m.st_ino) for m in found]
    return hashlib.sha256(repr(facts).encode()).hexdigest() if len(facts) > 1 else repr(facts)


def _file_name(text: str) -> str:
    return Path(path_in_url(text)).name


def _key(candidate: Candidate, extras: Extras, hashes: dict[str, str]) -> str:
    """Return the digest of all that the facts of a candidate depend on."""
    row, regions = candidate.row, candidate.regions.effective()
    # messages name files, so their names count too
    named = {c: (_file_name(row[c]), hashes.get(row.location(c))) for c in ("raw", "seg1", "seg2")}
    parts = [
        [(_file_name(part), hashes[part]) if part in hashes else part for part in kind]
        for kind in (regions.exclude, regions.merge)
    ]
    values = [_VERSION, named, parts, [row[c] for c in SELECTION_COLUMNS], extras.instances]
    values += [str(extras.folder), row.id] if any(parts) else []
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
