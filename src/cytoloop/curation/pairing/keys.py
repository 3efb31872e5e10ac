"""Keys in file names: files with the same key belong to the same image."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from cytoloop.errors import ConfigError
from cytoloop.io.names import path_in_url, stem

_SUFFIX = re.compile(r"[_\-. ][A-Za-z]+\d{0,2}$")
_PREFIX = re.compile(r"^[A-Za-z]+[_\-. ]")


def compile_pattern(text: str, part: str, setting: str) -> re.Pattern[str]:
    r"""Return a compiled regular expression that has a named part.

    Parameters
    ----------
    text : str
        For example ``(?P<id>Emb\d+_t\d+)``.
    part : str
        Name of the part: ``id`` or ``group``.
    setting : str
        Name of the setting, for the error.

    Raises
    ------
    ConfigError
        The text is not a regular expression, or has no such part.
    """
    example = rf"Example: {setting}='(?P<{part}>Emb\d+)'."
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ConfigError(
            f"{setting}={text!r}", f"is not a regular expression: {error}", example
        ) from error
    if part not in pattern.groupindex:
        raise ConfigError(f"{setting}={text!r}", f"has no part named (?P<{part}>...)", example)
    return pattern


def find_part(pattern: re.Pattern[str], part: str, path: str | Path) -> str:
    """Return the named part of a pattern in a file name, "" where the pattern is not found.

    A pattern that contains a ``/`` is searched in the whole path, folders included.
    """
    file = Path(path_in_url(path))
    subject = file.as_posix() if "/" in pattern.pattern else file.name
    match = pattern.search(subject)
    return (match[part] or "") if match else ""


def key_of(path: str | Path, pattern: re.Pattern[str] | None) -> str:
    """Return the key of a file: its stem, or the part ``id`` of a pattern ("" if not found)."""
    return stem(path) if pattern is None else find_part(pattern, "id", path)


def suggest_key(sources: Mapping[str, Sequence[Path]]) -> str | None:
    """Return a pattern that would pair all files, None where no usual one does.

    It is only shown in an error, never used to pair files. These are tried: a suffix per source
    (``img_1.tif`` with ``img_1_seg.tif``), a prefix (``raw_1.tif`` with ``mask_1.tif``), both, and
    the last number.

    Parameters
    ----------
    sources : mapping of str to sequence of Path
        ``raw``, ``seg1`` and, where given, ``seg2``, ``merge``, ``exclude``.
    """
    stems = {name: [stem(path) for path in files] for name, files in sources.items()}
    suffixes = _alternatives(_SUFFIX, stems)
    prefixes = _alternatives(_PREFIX, stems)
    endings = (r"\.", r"(\.ome)?\.\w+$")  # the second is for names with more dots
    candidates = [f"(?P<id>.+?){suffixes}{end}" for end in endings]
    candidates += [f"{prefixes}(?P<id>.+?){suffixes}{end}" for end in endings]
    candidates += [rf"(?P<id>\d+)\D*{end}" for end in endings]
    return next((c for c in candidates if _pairs_all(re.compile(c), sources)), None)


def _alternatives(pattern: re.Pattern[str], stems: Mapping[str, Sequence[str]]) -> str:
    """Return an optional part of a pattern: the affixes that all files of a source share."""
    found = set()
    for names in stems.values():
        affixes = {match[0] if (match := pattern.search(name)) else "" for name in names}
        if len(affixes) == 1:
            found |= affixes - {""}
    return f"({'|'.join(re.escape(affix) for affix in sorted(found))})?" if found else ""


def _pairs_all(pattern: re.Pattern[str], sources: Mapping[str, Sequence[Path]]) -> bool:
    keys = {name: [key_of(path, pattern) for path in files] for name, files in sources.items()}
    raw = set(keys["raw"])
    return (
        all(all(found) and len(set(found)) == len(found) for found in keys.values())
        and set(keys["seg1"]) == raw
        and all(set(found) <= raw for found in keys.values())
    )
