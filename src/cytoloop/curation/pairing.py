"""Pairing: a raw image meets its segmentations by a key in their names, never by sort order."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cytoloop.curation.keys import compile_pattern, key_of, suggest_key
from cytoloop.errors import ConfigError, ImageError, ManifestError
from cytoloop.images import SUFFIXES, list_images

_LISTED = 20
"""Lines shown of each kind of fault; the rest is counted."""


@dataclass(frozen=True)
class Pair:
    """Files that belong together, as absolute paths.

    Attributes
    ----------
    id : str
        The key that they share.
    raw, seg1 : Path
    seg2, exclude : Path or None
        None where this image has none.
    """

    id: str
    raw: Path
    seg1: Path
    seg2: Path | None = None
    exclude: Path | None = None


def pair_images(
    raw: str | Path,
    seg1: str | Path,
    seg2: str | Path | None = None,
    exclude: str | Path | None = None,
    key: str = "stem",
) -> list[Pair]:
    """Return raw images with their partners, sorted by key.

    Parameters
    ----------
    raw, seg1 : str or Path
        A folder (not searched deeper), a glob pattern or a file; each raw needs one seg1.
    seg2, exclude : str or Path, optional
        The same; not every raw needs one, but each needs a raw. Excluding masks may be
        ``.npy`` polygons.
    key : str
        ``stem``, the file name without its image suffix; or a regular expression with a part
        ``(?P<id>...)`` that is searched in the file name.

    Raises
    ------
    ConfigError
        A wrong `key`, or sources without files.
    ManifestError
        Files without a partner or without a key, and files that share one; all of them.
    """
    pattern = None if key == "stem" else compile_pattern(key, "id", "key")
    given = {"raw": raw, "seg1": seg1, "seg2": seg2, "exclude": exclude}
    files = _list_sources({name: str(source) for name, source in given.items() if source})
    found = {name: _by_key(paths, pattern) for name, paths in files.items()}
    problems = _faults(found)
    if problems:
        raise ManifestError(
            "pairing " + ", ".join(f"{name}={given[name]}" for name in files),
            problems,
            _repair(files),
        )
    only = {name: {k: paths[0] for k, paths in keys.items()} for name, keys in found.items()}
    return [
        Pair(k, path, only["seg1"][k], *(only.get(n, {}).get(k) for n in ("seg2", "exclude")))
        for k, path in sorted(only["raw"].items())
    ]


def _list_sources(sources: Mapping[str, str]) -> dict[str, list[Path]]:
    """Return the files of each source; all empty or missing sources are told at once."""
    files: dict[str, list[Path]] = {}
    problems, repairs = [], []
    for name, source in sources.items():
        try:
            listed = _polygons(source) if name == "exclude" else []
            files[name] = [Path(os.path.abspath(p)) for p in listed or list_images(source)]
        except ImageError as error:
            problems.append(f"{name}={source}: {'; '.join(error.problems)}")
            repairs.append(error.repair)
    if problems:
        raise ConfigError("sources", problems, " ".join(dict.fromkeys(repairs)))
    return files


def _polygons(source: str) -> list[Path]:
    """Return the images and ``.npy`` files of a folder, nothing where it holds no ``.npy``."""
    folder = Path(source).expanduser()
    if not folder.is_dir() or folder.name.lower().endswith(".zarr"):
        return []
    endings = (*SUFFIXES, ".npy")
    found = [p for p in folder.iterdir() if p.name.lower().endswith(endings)]
    return sorted(p for p in found if not p.name.startswith("."))


def _by_key(paths: Sequence[Path], pattern: re.Pattern[str] | None) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in paths:
        found.setdefault(key_of(path, pattern), []).append(path)
    return found


def _faults(found: Mapping[str, Mapping[str, Sequence[Path]]]) -> list[str]:
    """Return the lines of a table: what is wrong, the key, the files."""
    raw = found["raw"]
    lines = []
    for name, keys in found.items():
        nameless = [path.name for path in keys.get("", ())]
        lines += _table(f"{name}: key not found in", [("", name) for name in nameless])
        many = [(k, paths) for k, paths in sorted(keys.items()) if k and len(paths) > 1]
        lines += _table(
            f"{name}: one key, several files",
            [(k, ", ".join(_told(path, paths) for path in paths)) for k, paths in many],
        )
        lonely = sorted(k for k in keys if k and k not in raw)
        lines += _table(f"{name} without a raw", [(k, keys[k][0].name) for k in lonely])
    lonely = sorted(k for k in raw if k and k not in found["seg1"])
    return lines + _table("raw without a seg1", [(k, raw[k][0].name) for k in lonely])


def _told(path: Path, among: Sequence[Path]) -> str:
    """Return a file name, with its folder where that tells files of one name apart."""
    return path.name if len({p.name for p in among}) == len(among) else "/".join(path.parts[-2:])


def _table(kind: str, entries: Sequence[tuple[str, str]]) -> list[str]:
    shown = entries[:_LISTED]
    width = max((len(key) for key, _ in shown), default=0)
    lines = [f"{kind}: {key:<{width}}{'  ' if width else ''}{names}" for key, names in shown]
    if len(entries) > _LISTED:
        lines.append(f"{kind}: ... and {len(entries) - _LISTED} more")
    return lines


def _repair(files: Mapping[str, Sequence[Path]]) -> str:
    suggestion = suggest_key(files)
    if suggestion:
        return f"key='{suggestion}' would pair all {len(files['raw'])}: give it if that is right."
    return (
        "Rename or remove these files, narrow the sources with a glob, or give "
        "key='(?P<id>...)', a regular expression for what the names of partners share."
    )
