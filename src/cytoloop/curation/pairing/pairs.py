"""Pairs raw images with their segmentations by a key in the file names, never by sort order."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cytoloop.curation.pairing.source_files import list_sources
from cytoloop.curation.pairing.unmatched import Unmatched, find_unmatched, refuse_unmatched
from cytoloop.io.file_keys import STEM, compile_pattern, key_of

log = logging.getLogger(__name__)

_PARTNERS = ("seg2", "merge", "exclude")


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
        ``(?P<id>...)`` that is searched in the file name. With ``stem``, one file of each source
        is a pair, whatever the names.

    Raises
    ------
    ConfigError
        A wrong `key`, or sources without files.
    """
    pattern = None if key == STEM else compile_pattern(key, "id", "key")
    files = list_sources({name: str(source) for name, source in sources.items() if source})
    found = {name: _group_by_key(paths, pattern) for name, paths in files.items()}
    if pattern is None:
        found = _key_of_only_image(found)
    unmatched = find_unmatched(found)
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


def _key_of_only_image(found: dict[str, dict[str, list[Path]]]) -> dict[str, dict[str, list[Path]]]:
    """Return the files by key; one file of each source is a pair, whatever the names."""
    names = {k: paths[0].name for keys in found.values() for k, paths in keys.items()}
    if len(names) == 1 or any(len(keys) != 1 for keys in found.values()):
        return found
    if any(len(paths) != 1 for keys in found.values() for paths in keys.values()):
        return found
    (only,) = found["raw"]
    log.warning("one file of each source is a pair: %s", ", ".join(names.values()))
    return {name: {only: next(iter(keys.values()))} for name, keys in found.items()}


def _group_by_key(paths: Sequence[Path], pattern: re.Pattern[str] | None) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in paths:
        found.setdefault(key_of(path, pattern), []).append(path)
    return found
