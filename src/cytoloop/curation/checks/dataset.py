"""Checks of many rows: each by itself, all of one kind, and no picture in two splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from cytoloop.curation.checks.facts import Facts, Problem
from cytoloop.curation.checks.rows import check_row
from cytoloop.errors import ManifestError, listed
from cytoloop.io.remote import fetch_all
from cytoloop.manifest import FILE_COLUMNS, Manifest, Row

_NAMED = 8
"""Rows named of those that share a problem; the rest is counted."""


def inspect_rows(
    rows: Sequence[Row], channel: str | None = None, progress: bool = False
) -> list[Facts]:
    """Return the facts of each row with all its problems; nothing is raised.

    Beside the checks of `check_row`, rows that do not fit the rest have a problem: 2D among
    3D images, or another number of channels.

    Parameters
    ----------
    rows : sequence of Row
    channel : str, optional
        Raw channel where a row names none.
    progress : bool
        Show a bar on the terminal.
    """
    fetch_all((row.named(column) for row in rows for column in FILE_COLUMNS), progress)
    facts = [check_row(row, channel) for row in _track(rows, progress)]
    return add_problems(facts, find_odd_ones(facts))


def find_odd_ones(facts: Sequence[Facts]) -> list[tuple[int, Problem]]:
    """Return a problem for each row that does not fit most of them."""
    dims = {i: len(one.shape) for i, one in enumerate(facts) if one.shape}
    counts = {i: one.channels for i, one in enumerate(facts) if one.channels}
    return _odd_ones(dims, "is {}D, most images are {}D") + _odd_ones(
        counts, "has {} channels, most images have {}; name the right one (channel)"
    )


def check_rows(
    rows: Manifest | Sequence[Row],
    channel: str | None = None,
    progress: bool = False,
    where: str = "",
) -> list[Facts]:
    """Return the facts of rows that are all good.

    Parameters
    ----------
    rows : Manifest or sequence of Row
    channel : str, optional
        Raw channel where a row names none.
    progress : bool
        Show a bar on the terminal.
    where : str
        What the error message calls the rows; default the manifest's path.

    Raises
    ------
    ManifestError
        All problems of all rows.
    """
    where = where or (str(rows.path) if isinstance(rows, Manifest) else "rows")
    listed = list(rows)
    facts = inspect_rows(listed, channel, progress)
    refuse(where, describe_problems(listed, facts))
    return facts


def validate_dataset(
    dataset: Mapping[str, Manifest],
    channel: str | None = None,
    progress: bool = False,
    replayed: Manifest | None = None,
) -> dict[str, list[Facts]]:
    """Return the facts of each split of a data set in which all is well.

    Parameters
    ----------
    dataset : mapping of str to Manifest
        As `cytoloop.manifest.read_dataset` gives it, or some of its splits.
    channel, progress
        See `check_rows`.
    replayed : Manifest, optional
        Rows of another data set that train as well; their facts are those of ``replayed``.

    Raises
    ------
    ManifestError
        All problems of all rows; also a picture or a group that is in two splits.
    """
    parts = {**dataset, **({} if replayed is None else {"replayed": replayed})}
    rows = [row for manifest in parts.values() for row in manifest]
    splits = [split for split, manifest in parts.items() for _ in manifest]
    sides = ["train" if split == "replayed" else split for split in splits]
    facts = add_problems(
        inspected := inspect_rows(rows, channel, progress),
        find_duplicates(rows, inspected, sides) + _shared_groups(rows, sides),
    )
    paths = list(dict.fromkeys(manifest.path for manifest in dataset.values()))
    lines = []
    for split, manifest in parts.items():
        mine = [i for i, name in enumerate(splits) if name == split]
        prefix = f"{manifest.path.name}: " if len(paths) > 1 else ""
        prefix = f"{manifest.path}: " if split == "replayed" else prefix
        told = describe_problems([rows[i] for i in mine], [facts[i] for i in mine])
        lines += [prefix + line for line in told]
    refuse(str(paths[0].parent if len(paths) > 1 else paths[0]) if paths else "data set", lines)
    return {
        split: [one for one, name in zip(facts, splits, strict=True) if name == split]
        for split in parts
    }


def find_duplicates(
    rows: Sequence[Row], facts: Sequence[Facts], sides: Sequence[str]
) -> list[tuple[int, Problem]]:
    """Return a problem for each row whose picture an earlier row has on another side.

    Parameters
    ----------
    rows, facts : sequences
        Of equal length. A picture is a scene and time point of a raw file, wherever the file
        lies, and any other file with the same pixels.
    sides : sequence of str
        What a picture must not be on two of: the rows' splits, or their groups.
    """
    first: dict[tuple[str, ...], int] = {}
    found = []
    for i, (row, one) in enumerate(zip(rows, facts, strict=True)):
        content = one.sha256.get("raw") or row.named("raw")
        keys = [(content, row["scene"], row["time"]), *([(one.pixels,)] if one.pixels else [])]
        earlier = min(first.setdefault(key, i) for key in keys)
        if sides[earlier] != sides[i]:
            text = f"the same picture is {rows[earlier].id} of {sides[earlier]!r}"
            found.append((i, Problem("raw", f"{text}; keep one of them, or give both one group")))
    return found


def add_problems(facts: Iterable[Facts], found: Iterable[tuple[int, Problem]]) -> list[Facts]:
    """Return facts with further problems, each given with the number of its row from 0."""
    changed = list(facts)
    for i, problem in found:
        changed[i] = replace(changed[i], problems=(*changed[i].problems, problem))
    return changed


def describe_problems(rows: Sequence[Row], facts: Sequence[Facts]) -> list[str]:
    """Return one line for each problem, with all the rows that have it."""
    shared: dict[Problem, list[Row]] = {}
    for row, one in zip(rows, facts, strict=True):
        for problem in one.problems:
            shared.setdefault(problem, []).append(row)
    lines = []
    for problem, owners in shared.items():
        where = owners[0].where(problem.column)
        if len(owners) > 1:
            numbers = listed((str(row.number) for row in owners), _NAMED)
            names = listed((row.id for row in owners), _NAMED)
            where = f"rows {numbers} ({names}), column {problem.column!r}"
        lines.append(f"{where}: {problem.text}")
    return lines


def refuse(where: str, problems: Sequence[str]) -> None:
    """Raise a `ManifestError` if there are problems."""
    if problems:
        raise ManifestError(
            where, problems, "Fix or reject these rows, then run `cytoloop curate` again."
        )


def _shared_groups(rows: Sequence[Row], splits: Sequence[str]) -> list[tuple[int, Problem]]:
    first: dict[str, str] = {}
    found = []
    for i, (row, split) in enumerate(zip(rows, splits, strict=True)):
        other = first.setdefault(row["group"], split) if row["group"] else split
        if other != split:
            text = f"group {row['group']!r} is in {other} too; a group must stay in one split"
            found.append((i, Problem("group", text)))
    return found


def _odd_ones(values: Mapping[int, int], text: str) -> list[tuple[int, Problem]]:
    """Return a problem for each row whose value is not that of most rows."""
    if not values:
        return []
    counts = Counter(values.values())
    usual = max(sorted(counts, reverse=True), key=counts.__getitem__)
    return [(i, Problem("raw", text.format(n, usual))) for i, n in values.items() if n != usual]


def _track(rows: Sequence[Row], progress: bool) -> Iterable[Row]:
    if not progress:
        return rows
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(
        rows,
        "checking images",
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
