"""Pairing: a raw image meets its segmentations by a key in their names, never by sort order."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cytoloop.curation.pairing.keys import compile_pattern, key_of, suggest_key
from cytoloop.errors import ConfigError, ImageError, ManifestError
from cytoloop.io.listing import list_images
from cytoloop.io.readers.formats import IMAGE_SUFFIXES
from cytoloop.manifest import absolute_path
from cytoloop.truth.regions import OUTLINE_SUFFIXES

_PARTNERS = ("seg2", "merge", "exclude")
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
    seg2, merge, exclude : Path or None
        None where this image has none.
    """

    id: str
    raw: Path
    seg1: Path
    seg2: Path | None = None
    merge: Path | None = None
    exclude: Path | None = None


@dataclass(frozen=True)
class Unmatched:
    """A file that was left without a partner, or that nothing tells from another.

    Attributes
    ----------
    source : str
        ``raw``, ``seg1``, ``seg2``, ``merge`` or ``exclude``.
    key : str
        "" where none was found in its name.
    path : Path
    why : str
    """

    source: str
    key: str
    path: Path
    why: str


def pair_images(
    raw: str | Path,
    seg1: str | Path,
    seg2: str | Path | None = None,
    exclude: str | Path | None = None,
    merge: str | Path | None = None,
    key: str = "stem",
) -> list[Pair]:
    """Return raw images with their partners, sorted by key, if every file has its own.

    Parameters
    ----------
    raw, seg1, seg2, exclude, merge, key
        See `match_images`.

    Raises
    ------
    ConfigError
        A wrong `key`, or sources without files.
    ManifestError
        Files without a partner or without a key, and files that share one; all of them.
    """
    sources = {"raw": raw, "seg1": seg1, "seg2": seg2, "merge": merge, "exclude": exclude}
    pairs, unmatched = match_images(sources, key)
    refuse_unmatched(unmatched, sources)
    return pairs


def match_images(
    sources: Mapping[str, str | Path | None], key: str = "stem"
) -> tuple[list[Pair], list[Unmatched]]:
    """Return raw images with their partners, and every file that is in no pair; no guess is made.

    Parameters
    ----------
    sources : mapping of str to str, Path or None
        ``raw`` and ``seg1``, and perhaps ``seg2``, ``merge`` and ``exclude``: a folder (not
        searched deeper), a glob pattern or a file. Each raw needs one seg1; not every raw needs
        one of the others, but each of them needs a raw. Regions may be files of outlines.
    key : str
        ``stem``, the file name without its image suffix; or a regular expression with a part
        ``(?P<id>...)`` that is searched in the file name.

    Raises
    ------
    ConfigError
        A wrong `key`, or sources without files.
    """
    pattern = None if key == "stem" else compile_pattern(key, "id", "key")
    files = _list_sources({name: str(source) for name, source in sources.items() if source})
    found = {name: _by_key(paths, pattern) for name, paths in files.items()}
    unmatched = _faults(found)
    lost = {(one.source, one.key) for one in unmatched}
    only = {
        name: {k: paths[0] for k, paths in keys.items() if (name, k) not in lost}
        for name, keys in found.items()
    }
    pairs = []
    for k, path in sorted(only["raw"].items()):
        partners = {name: only.get(name, {}).get(k) for name in _PARTNERS}
        pairs.append(Pair(id=k, raw=path, seg1=only["seg1"][k], **partners))
    return pairs, unmatched


def refuse_unmatched(
    unmatched: Sequence[Unmatched], sources: Mapping[str, str | Path | None]
) -> None:
    """Raise a `ManifestError` that lists the files without a pair, if there are any."""
    if unmatched:
        given = {name: str(source) for name, source in sources.items() if source}
        files = _list_sources(given)
        raise ManifestError(
            "pairing " + ", ".join(f"{name}={source}" for name, source in given.items()),
            _describe(unmatched),
            _repair(files),
        )


def _list_sources(sources: Mapping[str, str]) -> dict[str, list[Path]]:
    """Return the files of each source; all empty or missing sources are told at once."""
    files: dict[str, list[Path]] = {}
    problems, repairs = [], []
    for name, source in sources.items():
        try:
            listed = _outlines(source) if name in ("merge", "exclude") else []
            files[name] = [Path(os.path.abspath(p)) for p in listed or list_images(source)]
        except ImageError as error:
            problems.append(f"{name}={source}: {'; '.join(error.problems)}")
            repairs.append(error.repair)
    if problems:
        raise ConfigError("sources", problems, " ".join(dict.fromkeys(repairs)))
    return files


def _outlines(source: str) -> list[Path]:
    """Return the images and outlines (``.npy``, ``.json``, ``.roi`` ...) of a folder."""
    folder = absolute_path(source)
    if not folder.is_dir() or folder.name.lower().endswith(".zarr"):
        return []
    endings = (*IMAGE_SUFFIXES, *OUTLINE_SUFFIXES)
    found = [p for p in folder.iterdir() if p.name.lower().endswith(endings)]
    return sorted(p for p in found if not p.name.startswith("."))


def _by_key(paths: Sequence[Path], pattern: re.Pattern[str] | None) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in paths:
        found.setdefault(key_of(path, pattern), []).append(path)
    return found


def _faults(found: Mapping[str, Mapping[str, Sequence[Path]]]) -> list[Unmatched]:
    """Return every file that cannot be in a pair, with the reason."""
    faults: list[Unmatched] = []
    for name, keys in found.items():
        for k, paths in sorted(keys.items()):
            if not k:
                faults += [Unmatched(name, k, path, "key not found in") for path in paths]
            elif len(paths) > 1:
                faults += [Unmatched(name, k, path, "one key, several files") for path in paths]
    lost = {(one.source, one.key) for one in faults}
    whole = {name: {k for k in keys if (name, k) not in lost} for name, keys in found.items()}
    lonely = whole["raw"] - whole["seg1"]
    for k in sorted(lonely):
        many = len(found["seg1"].get(k, ())) > 1
        why = "its seg1 is not clear" if many else "without a seg1"
        faults.append(Unmatched("raw", k, found["raw"][k][0], why))
    # a partner of a raw that is in no pair is in none either, and is not forgotten
    kept = whole["raw"] - lonely
    for name in found:
        for k in sorted(whole[name] - kept) if name != "raw" else ():
            why = "its raw is in no pair" if k in found["raw"] else "without a raw"
            faults.append(Unmatched(name, k, found[name][k][0], why))
    return faults


def _describe(unmatched: Sequence[Unmatched]) -> list[str]:
    """Return the lines of a table: what is wrong, the key, the files."""
    kinds: dict[tuple[str, str], dict[str, list[Path]]] = {}
    for one in unmatched:
        if one.why not in ("its raw is in no pair", "its seg1 is not clear"):  # told by the other
            keys = kinds.setdefault((one.source, one.why), {})
            keys.setdefault(one.key or one.path.name, []).append(one.path)
    lines = []
    for (source, why), keys in kinds.items():
        kind = f"{source} {why}" if why.startswith("without") else f"{source}: {why}"
        lines += _table(
            kind,
            [
                ("" if why == "key not found in" else k, ", ".join(_told(p, paths) for p in paths))
                for k, paths in keys.items()
            ],
        )
    return lines


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
