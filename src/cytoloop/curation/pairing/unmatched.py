"""Files that are in no pair, and the error that lists them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cytoloop.curation.pairing.source_files import list_sources
from cytoloop.errors import ManifestError
from cytoloop.io.file_keys import suggest_key

_MAX_LISTED = 20
"""Largest number of lines per kind of problem in an error."""

NO_KEY = "key not found"
SEVERAL_FILES = "one key, several files"
RAW_UNPAIRED = "its raw is in no pair"
SEG1_AMBIGUOUS = "its seg1 is ambiguous"
_FOLLOW_UPS = (RAW_UNPAIRED, SEG1_AMBIGUOUS)
"""Reasons that follow from the reason of another file."""


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


def find_unmatched(found: Mapping[str, Mapping[str, Sequence[Path]]]) -> list[Unmatched]:
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


def refuse_unmatched(
    unmatched: Sequence[Unmatched], sources: Mapping[str, str | Path | None]
) -> None:
    """Raise a `ManifestError` that lists the files that are in no pair, if there are any."""
    if unmatched:
        given = {name: str(source) for name, source in sources.items() if source}
        files = list_sources(given)
        raise ManifestError(
            "pairing " + ", ".join(f"{name}={source}" for name, source in given.items()),
            _describe(unmatched),
            _suggest_repair(files),
        )


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
        command = f"key={shlex.quote(suggestion)}"
        return f"{command} would pair all {len(files['raw'])} images; check it and give it."
    return (
        "Rename or remove these files, narrow the sources with a glob, or give "
        "key='(?P<id>...)', a regular expression for the part that matching names share."
    )
