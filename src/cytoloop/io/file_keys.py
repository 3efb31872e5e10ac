"""Keys in file names: files with the same key belong to the same image."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from cytoloop.errors import ConfigError
from cytoloop.io.names import path_in_url, stem

_SUFFIXES = [re.compile(rf"(?:[_\-. ][A-Za-z]+\d{{0,2}}){{{count}}}$") for count in (1, 2, 3)]
"""Endings of one to three words: ``_seg``, ``_mask``, ``_cp_masks``."""
_PREFIXES = [re.compile(r"^[A-Za-z]+[_\-. ]")]
_MAX_TRIED = 200
STEM = "stem"
"""Key of files that are paired by their whole name without suffix."""


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
    match = pattern.search(unicodedata.normalize("NFC", subject))
    return (match[part] or "") if match else ""


def key_of(path: str | Path, pattern: re.Pattern[str] | None) -> str:
    """Return the key of a file: its stem, or the part ``id`` of a pattern ("" if not found)."""
    return stem(path) if pattern is None else find_part(pattern, "id", path)


def suggest_key(sources: Mapping[str, Sequence[str | Path]]) -> str | None:
    """Return a pattern that would pair all files, None where no usual one does.

    It is only shown in an error, never used to pair files. These are tried: a suffix per source
    (``img_1.tif`` with ``img_1_cp_masks.tif``), a prefix (``raw_1.tif`` with ``mask_1.tif``), both,
    and the last number.

    Parameters
    ----------
    sources : mapping of str to sequence of str or Path
        At least two sources of files. The first two must have the same keys, the others may lack
        some of them.
    """
    stems = {name: [stem(path) for path in files] for name, files in sources.items()}
    suffixes, prefixes = _alternatives(_SUFFIXES, stems), _alternatives(_PREFIXES, stems)
    endings = (r"\.", r"(\.ome)?\.\w+$")  # the second is for names with more dots
    candidates = [f"(?P<id>.+?){suffix}{end}" for suffix in suffixes for end in endings]
    candidates += [
        f"{prefix}(?P<id>.+?){suffix}{end}"
        for prefix in prefixes
        for suffix in suffixes
        for end in endings
    ]
    candidates = [*candidates[:_MAX_TRIED], *(rf"(?P<id>\d+)\D*{end}" for end in endings)]
    return next((c for c in candidates if _pairs_all(re.compile(c), sources)), None)


def _alternatives(
    patterns: Sequence[re.Pattern[str]], stems: Mapping[str, Sequence[str]]
) -> list[str]:
    """Return optional parts of a pattern: affixes that all files of a source share.

    The first one holds an affix of each source; then follow those of fewer sources, because the
    name of an image may end like an affix: ``a_nuclei.tif`` with ``a_nuclei_mask.tif``.
    """
    options = []
    for names in stems.values():
        found = [{m[0] if (m := one.search(name)) else "" for name in names} for one in patterns]
        shared = {affixes.pop() for affixes in found if len(affixes) == 1}
        options.append(sorted(shared | {""}, key=lambda affix: (not affix, len(affix))))
    parts = []
    for chosen in itertools.islice(itertools.product(*options), _MAX_TRIED):
        affixes = sorted({*chosen} - {""}, key=lambda affix: (-len(affix), affix))
        parts.append(f"({'|'.join(map(re.escape, affixes))})?" if affixes else "")
    return list(dict.fromkeys(parts))


def _pairs_all(pattern: re.Pattern[str], sources: Mapping[str, Sequence[str | Path]]) -> bool:
    keys = [[key_of(path, pattern) for path in files] for files in sources.values()]
    first = set(keys[0])
    return (
        all(all(found) and len(set(found)) == len(found) for found in keys)
        and set(keys[1]) == first
        and all(set(found) <= first for found in keys)
    )
