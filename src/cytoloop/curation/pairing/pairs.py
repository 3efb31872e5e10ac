"""Pairs raw images with their segmentations by a key in the file names, never by sort order."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cytoloop.curation.pairing.keys import compile_pattern, key_of, suggest_key
from cytoloop.errors import ConfigError, ImageError, ManifestError
from cytoloop.io.files import list_images
from cytoloop.io.names import SUFFIXES
from cytoloop.manifest import locate
from cytoloop.truth.regions import OUTLINE_SUFFIXES

_PARTNERS = ("seg2", "merge", "exclude")
_MAX_LISTED = 20
"""Largest number of lines per kind of problem in an error."""

NO_KEY = "key not found"
SEVERAL_FILES = "one key, several files"
RAW_UNPAIRED = "its raw is in no pair"
SEG1_AMBIGUOUS = "its seg1 is ambiguous"
_FOLLOW_UPS = (RAW_UNPAIRED, SEG1_AMBIGUOUS)
"""Reasons that follow from the reason of another file."""


@dataclass(frozen=True)
class Pair:
    """The files of one image, as absolute paths.

    Attributes
    ----------
    id : str
        The key of the files.
    raw, seg1 : Path
    seg2, merge, exclude : Path or None
        None where the image has none.
    """

    id: str
    raw: Path
    seg1: Path
    seg2: Path | None = None
    merge: Path | None = None
    exclude: Path | None = None


@dataclass(frozen=True)
class Unmatched:
    """A file that is in no pair.

    Attributes
    ----------
    source : str
        ``raw``, ``seg1``, ``seg2``, ``merge`` or ``exclude``.
    key : str
        "" where none was found in the file name.
    path : Path
    why : str
        The reason.
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
    """Return raw images paired with their segmentations and regions, sorted by key.

    Parameters
    ----------
    raw, seg1, seg2, exclude, merge, key
        See `match_images`.

    Raises
    ------
    ConfigError
        A wrong `key`, or sources without files.
    ManifestError
        All files without a partner, without a key, or with the key of another file.
    """
    sources = {"raw": raw, "seg1": seg1, "seg2": seg2, "merge": merge, "exclude": exclude}
    pairs, unmatched = match_images(sources, key)
    refuse_unmatched(unmatched, sources)
    return pairs


def match_images(
    sources: Mapping[str, str | Path | None], key: str = "stem"
) -> tuple[list[Pair], list[Unmatched]]:
    """Return the pairs of raw images with their partners, and all files that are in no pair.

    Parameters
    ----------
    sources : mapping of str to str, Path or None
        ``raw``, ``seg1`` and optionally ``seg2``, ``merge`` and ``exclude``: a folder (without
        its subfolders), a glob pattern or a file. Every raw image needs one seg1. The other
        sources may have files for some raw images only. Regions may be files of outlines.
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
    found = {name: _group_by_key(paths, pattern) for name, paths in files.items()}
    unmatched = _find_unmatched(found)
    left_out = {(one.source, one.key) for one in unmatched}
    only = {
        name: {k: paths[0] for k, paths in keys.items() if (name, k) not in left_out}
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
    """Raise a `ManifestError` that lists the files that are in no pair, if there are any."""
    if unmatched:
        given = {name: str(source) for name, source in sources.items() if source}
        files = _list_sources(given)
        raise ManifestError(
            "pairing " + ", ".join(f"{name}={source}" for name, source in given.items()),
            _describe(unmatched),
            _suggest_repair(files),
        )


def _list_sources(sources: Mapping[str, str]) -> dict[str, list[Path]]:
    """Return the files of each source; the error lists all empty and missing sources."""
    files: dict[str, list[Path]] = {}
    problems, repairs = [], []
    for name, source in sources.items():
        try:
            regions = _list_regions(source) if name in ("merge", "exclude") else []
            files[name] = [Path(os.path.abspath(p)) for p in regions or list_images(source)]
        except ImageError as error:
            problems.append(f"{name}={source}: {'; '.join(error.problems)}")
            repairs.append(error.repair)
    if problems:
        raise ConfigError("sources", problems, " ".join(dict.fromkeys(repairs)))
    return files


def _list_regions(source: str) -> list[Path]:
    """Return the images and outlines (``.npy``, ``.json``, ``.roi`` ...) of a folder."""
    folder = locate(source)
    if not folder.is_dir() or folder.name.lower().endswith(".zarr"):
        return []
    endings = (*SUFFIXES, *OUTLINE_SUFFIXES)
    found = [p for p in folder.iterdir() if p.name.lower().endswith(endings)]
    return sorted(p for p in found if not p.name.startswith("."))


def _group_by_key(paths: Sequence[Path], pattern: re.Pattern[str] | None) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in paths:
        found.setdefault(key_of(path, pattern), []).append(path)
    return found


def _find_unmatched(found: Mapping[str, Mapping[str, Sequence[Path]]]) -> list[Unmatched]:
    """Return every file that is in no pair, with the reason.

    Parameters
    ----------
    found : mapping
        Source to key to the files with that key.
    """
    unmatched: list[Unmatched] = []
    for name, keys in found.items():
        for k, paths in sorted(keys.items()):
            if not k:
                unmatched += [Unmatched(name, k, path, NO_KEY) for path in paths]
            elif len(paths) > 1:
                unmatched += [Unmatched(name, k, path, SEVERAL_FILES) for path in paths]
    faulty = {(one.source, one.key) for one in unmatched}
    unique = {name: {k for k in keys if (name, k) not in faulty} for name, keys in found.items()}
    without_seg1 = unique["raw"] - unique["seg1"]
    for k in sorted(without_seg1):
        has_several = len(found["seg1"].get(k, ())) > 1
        why = SEG1_AMBIGUOUS if has_several else "without a seg1"
        unmatched.append(Unmatched("raw", k, found["raw"][k][0], why))
    paired = unique["raw"] - without_seg1
    for name in found:
        for k in sorted(unique[name] - paired) if name != "raw" else ():
            why = RAW_UNPAIRED if k in found["raw"] else "without a raw"
            unmatched.append(Unmatched(name, k, found[name][k][0], why))
    return unmatched


def _describe(unmatched: Sequence[Unmatched]) -> list[str]:
    """Return lines with the reason, the key and the files of each key."""
    kinds: dict[tuple[str, str], dict[str, list[Path]]] = {}
    for one in unmatched:
        if one.why not in _FOLLOW_UPS:
            keys = kinds.setdefault((one.source, one.why), {})
            keys.setdefault(one.key or one.path.name, []).append(one.path)
    lines = []
    for (source, why), keys in kinds.items():
        kind = f"{source} {why}" if why.startswith("without") else f"{source}: {why}"
        entries = [
            ("" if why == NO_KEY else k, ", ".join(_short_name(p, paths) for p in paths))
            for k, paths in keys.items()
        ]
        lines += _format_lines(kind, entries)
    return lines


def _short_name(path: Path, among: Sequence[Path]) -> str:
    """Return a file name, with its folder where two files have the same name."""
    return path.name if len({p.name for p in among}) == len(among) else "/".join(path.parts[-2:])


def _format_lines(kind: str, entries: Sequence[tuple[str, str]]) -> list[str]:
    """Return lines with aligned keys: kind, key, file names."""
    shown = entries[:_MAX_LISTED]
    width = max((len(key) for key, _ in shown), default=0)
    lines = [f"{kind}: {key:<{width}}{'  ' if width else ''}{names}" for key, names in shown]
    if len(entries) > _MAX_LISTED:
        lines.append(f"{kind}: ... and {len(entries) - _MAX_LISTED} more")
    return lines


def _suggest_repair(files: Mapping[str, Sequence[Path]]) -> str:
    suggestion = suggest_key(files)
    if suggestion:
        return (
            f"key='{suggestion}' would pair all {len(files['raw'])} images; check it and give it."
        )
    return (
        "Rename or remove these files, narrow the sources with a glob, or give "
        "key='(?P<id>...)', a regular expression for the part that matching names share."
    )
