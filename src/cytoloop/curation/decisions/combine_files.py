"""Decisions of other curators, taken into the log of a data set with the files that they name."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path

from cytoloop.curation.decisions.combine import PREFER, Combined, Conflict, combine
from cytoloop.curation.decisions.drawn import unfinished_by_both
from cytoloop.curation.decisions.log import LogLine, append_lines, check_columns, read_log
from cytoloop.curation.file_names import CONFLICTS_CSV, DATASET_CSV, DECISIONS_CSV
from cytoloop.curation.region_cells import format_regions, is_keyword, parse_regions
from cytoloop.errors import ConfigError, Faults, ManifestError
from cytoloop.io.atomic import replacing
from cytoloop.io.digest import file_hash
from cytoloop.io.file_lock import locked_file
from cytoloop.manifest import absolute_path, write_manifest
from cytoloop.urls import is_remote

_FILE_COLUMNS = ("exclude", "merge", "labels")


def combine_logs(
    folder: str | Path, logs: Sequence[str | Path], prefer: str | None = None
) -> Combined:
    """Take the decisions of other curators into the log of a data set.

    Regions and corrected labels that lie in the folder of another log are copied into the folder of
    the data set. The log is only appended to. ``conflicts.csv`` lists the conflicts.

    Parameters
    ----------
    folder : str or Path
        Of the data set.
    logs : sequence of str or Path
        Decisions logs, or the folders that hold them. They may be copies of this data set.
    prefer : str, optional
        ``mine``, ``theirs`` or ``latest``: whose cell counts in a conflict. None: mine, until the
        curators agree.

    Returns
    -------
    Combined
        The appended lines and all conflicts.

    Raises
    ------
    ConfigError
        `prefer` is unknown.
    ManifestError
        There is no data set; a log cannot be read, or a file that it names is missing. Nothing is
        written.
    """
    target = absolute_path(str(folder))
    own = target / DECISIONS_CSV
    faults = Faults()
    faults.attempt(partial(_check_prefer, prefer))
    faults.attempt(partial(_check_target, target))
    moves = {}
    for log in logs:
        if found_log := faults.attempt(partial(_read_other, log, own)):
            path, lines = found_log
            moves[path] = _Moves(path.parent, target, lines)
    faults.raise_all("cytoloop combine", ("combine",))
    missing = [line for one in moves.values() for line in one.missing]
    if missing:
        raise ManifestError(
            "decisions of other curators",
            missing,
            "Copy these files, too, with their folders. Nothing was written.",
        )
    overlap = partial(unfinished_by_both, target)
    found = Combined([], [])
    for one in moves.values():
        one.copy()
    with locked_file(own):
        mine = read_log(own) if own.is_file() else []
        for path, one in moves.items():
            more = combine([*mine, *found.lines], one.lines, str(path), prefer, overlap)
            found.lines.extend(more.lines)
            found.conflicts.extend(more.conflicts)
        check_columns(own, found.lines)
        if found.lines:
            append_lines(own, found.lines)
    columns = [field.name for field in fields(Conflict)]
    write_manifest(target / CONFLICTS_CSV, [asdict(one) for one in found.conflicts], columns)
    return found


class _Moves:
    """The files of another log, and its lines with the paths that they get in the data set."""

    def __init__(self, source: Path, target: Path, lines: Sequence[LogLine]) -> None:
        self.missing: list[str] = []
        self._copies: dict[Path, Path] = {}
        self._new_paths: dict[str, str] = {}
        self._source, self._target = source, target
        self.lines = [self._moved(line) for line in lines]

    def copy(self) -> None:
        """Copy the files that the data set lacks."""
        for source, target in self._copies.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target) as temporary:
                shutil.copyfile(source, temporary)

    def _moved(self, line: LogLine) -> LogLine:
        cells = {
            name: format_regions(
                self._new_path(part, line["id"]) for part in parse_regions(line[name], Path())
            )
            for name in _FILE_COLUMNS
        }
        return line | cells

    def _new_path(self, part: str, row_id: str) -> str:
        """Return the path of a file in the data set; a file elsewhere stays where it is."""
        path = Path(part)
        is_inside = not (is_keyword(part) or is_remote(part)) and path.is_relative_to(self._source)
        if not is_inside or self._source == self._target:
            return part
        if part not in self._new_paths:
            new = self._target / path.relative_to(self._source)
            if not path.exists():
                if not new.exists():
                    self.missing.append(f"{row_id}: file not found: {part}")
            elif not new.exists():
                self._copies[path] = new
            elif file_hash(new) != file_hash(path):  # the same name, other pixels
                digest = file_hash(path).removeprefix("sha256:")[:12]
                first, dot, suffixes = path.name.partition(".")
                new = new.with_name(f"{first}_{digest}{dot}{suffixes}")
                self._copies[path] = new
            self._new_paths[part] = str(new)
        return self._new_paths[part]


def _check_target(target: Path) -> None:
    """Refuse a folder without a data set."""
    if not (target / DATASET_CSV).is_file():
        raise ManifestError(
            str(target), f"holds no {DATASET_CSV}", "Name the folder of a data set: data.path=DIR."
        )


def _check_prefer(prefer: str | None) -> None:
    """Refuse an unknown preference."""
    if prefer is not None and prefer not in PREFER:
        raise ConfigError("combine", f"prefer={prefer}", f"Expected {', '.join(PREFER)}, or null.")


def _read_other(log: str | Path, own: Path) -> tuple[Path, list[LogLine]]:
    """Return the path and the lines of another curator's log."""
    path = _find_log(log, own)
    return path, read_log(path)


def _find_log(text: str | Path, own: Path) -> Path:
    """Return the log of another curator.

    Raises
    ------
    ManifestError
        There is none, or it is the log of the data set itself.
    """
    path = absolute_path(str(text))
    path = path / DECISIONS_CSV if path.is_dir() else path
    if not path.is_file():
        raise ManifestError(
            str(path), "no such decisions log", f"Name a {DECISIONS_CSV}, or the folder of one."
        )
    if own.exists() and path.samefile(own):
        raise ManifestError(
            str(path), "is the log of this data set", "Name the log of another curator."
        )
    return path
