"""Checks of many rows: each row, whether the rows are alike, and no image in two splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from cytoloop.curation.checks.duplicates import find_duplicates
from cytoloop.curation.checks.result import CheckResult, Problem
from cytoloop.curation.checks.row import check_row
from cytoloop.errors import ManifestError, join_names
from cytoloop.io.remote import fetch_all
from cytoloop.manifest import FILE_COLUMNS, Manifest, Row
from cytoloop.terminal import progress_bar
from cytoloop.workers.engine import Engine

_MAX_NAMED = 8
"""Largest number of rows that are named in one line of an error."""


def check_rows(
    rows: Sequence[Row],
    channel: str | None = None,
    progress: bool = False,
    engine: Engine | None = None,
) -> list[CheckResult]:
    """Return the check result of each row; no problem is raised.

    Besides the problems of `check_row`, a row has a problem where it is 2D among 3D images, or has
    another number of channels than most rows.

    Parameters
    ----------
    rows : sequence of Row
    channel : str, optional
        Raw channel where a row names none.
    progress : bool
        Show a progress bar on the terminal.
    engine : Engine, optional
        Which processes check; default: this one.
    """
    engine = engine or Engine()
    fetch_all((row.location(column) for row in rows for column in FILE_COLUMNS), progress)
    results: dict[int, CheckResult] = {}
    with progress_bar("checking images", len(rows), progress) as advance:
        for number, result in engine.run(partial(check_row, channel=channel), rows):
            results[number] = result
            advance()
    found = [results[number] for number in range(len(rows))]
    return add_problems(found, find_inconsistent_rows(found))


def validate_rows(
    rows: Manifest | Sequence[Row],
    channel: str | None = None,
    progress: bool = False,
    where: str = "",
) -> list[CheckResult]:
    """Return the check results of rows without problems.

    Parameters
    ----------
    rows : Manifest or sequence of Row
    channel : str, optional
        Raw channel where a row names none.
    progress : bool
        Show a progress bar on the terminal.
    where : str
        What the error calls the rows. Default: the manifest's path.

    Raises
    ------
    ManifestError
        All problems of all rows.
    """
    where = where or (str(rows.path) if isinstance(rows, Manifest) else "rows")
    checked = list(rows)
    results = check_rows(checked, channel, progress)
    _raise_problems(where, describe_problems(checked, results))
    return results


def validate_dataset(
    dataset: Mapping[str, Manifest],
    channel: str | None = None,
    progress: bool = False,
    replayed: Manifest | None = None,
    engine: Engine | None = None,
) -> dict[str, list[CheckResult]]:
    """Return the check results of each split of a data set without problems.

    Parameters
    ----------
    dataset : mapping of str to Manifest
        All or some splits, as `cytoloop.manifest.read_dataset` returns them.
    channel, progress, engine
        See `check_rows`.
    replayed : Manifest, optional
        Rows of another data set that are added for training. Their results are under
        ``replayed``.

    Raises
    ------
    ManifestError
        All problems of all rows, including an image or a group in two splits.
    """
    parts = {**dataset, **({} if replayed is None else {"replayed": replayed})}
    rows = [row for manifest in parts.values() for row in manifest]
    parts_of_rows = [part for part, manifest in parts.items() for _ in manifest]
    splits = ["train" if part == "replayed" else part for part in parts_of_rows]
    results = check_rows(rows, channel, progress, engine)
    results = add_problems(
        results, find_duplicates(rows, results, splits) + _find_shared_groups(rows, splits)
    )
    paths = list(dict.fromkeys(manifest.path for manifest in dataset.values()))
    lines = []
    for part, manifest in parts.items():
        own = [i for i, name in enumerate(parts_of_rows) if name == part]
        prefix = f"{manifest.path.name}: " if len(paths) > 1 else ""
        prefix = f"{manifest.path}: " if part == "replayed" else prefix
        problems = describe_problems([rows[i] for i in own], [results[i] for i in own])
        lines += [prefix + line for line in problems]
    where = "data set"
    if paths:
        where = str(paths[0].parent if len(paths) > 1 else paths[0])
    _raise_problems(where, lines)
    return {
        part: [result for result, name in zip(results, parts_of_rows, strict=True) if name == part]
        for part in parts
    }


def find_inconsistent_rows(results: Sequence[CheckResult]) -> list[tuple[int, Problem]]:
    """Return a problem for each row whose dimensions or channel count differ from most rows."""
    dims = {i: len(result.shape) for i, result in enumerate(results) if result.shape}
    channels = {i: result.channels for i, result in enumerate(results) if result.channels}
    return _find_minority(dims, "is {}D, most images are {}D") + _find_minority(
        channels, "has {} channels, most images have {}; name the right one (channel)"
    )


def add_problems(
    results: Iterable[CheckResult], found: Iterable[tuple[int, Problem]]
) -> list[CheckResult]:
    """Return results with more problems, each given with the index of its row."""
    changed = list(results)
    for i, problem in found:
        changed[i] = replace(changed[i], problems=(*changed[i].problems, problem))
    return changed


def describe_problems(rows: Sequence[Row], results: Sequence[CheckResult]) -> list[str]:
    """Return one line per problem, with all the rows that have it."""
    rows_by_problem: dict[Problem, list[Row]] = {}
    for row, result in zip(rows, results, strict=True):
        for problem in result.problems:
            rows_by_problem.setdefault(problem, []).append(row)
    lines = []
    for problem, owners in rows_by_problem.items():
        where = owners[0].where(problem.column)
        if len(owners) > 1:
            numbers = join_names((str(row.number) for row in owners), _MAX_NAMED)
            names = join_names((row.id for row in owners), _MAX_NAMED)
            where = f"rows {numbers} ({names}), column {problem.column!r}"
        lines.append(f"{where}: {problem.text}")
    return lines


def _raise_problems(where: str, problems: Sequence[str]) -> None:
    if problems:
        raise ManifestError(
            where, problems, "Fix or reject these rows, then run `cytoloop curate` again."
        )


def _find_shared_groups(rows: Sequence[Row], splits: Sequence[str]) -> list[tuple[int, Problem]]:
    first: dict[str, str] = {}
    found = []
    for i, (row, split) in enumerate(zip(rows, splits, strict=True)):
        other = first.setdefault(row["group"], split) if row["group"] else split
        if other != split:
            text = f"group {row['group']!r} is also in {other}; a group must be in one split"
            found.append((i, Problem("group", text)))
    return found


def _find_minority(values: Mapping[int, int], text: str) -> list[tuple[int, Problem]]:
    """Return a problem for each row whose value is not the most common one."""
    if not values:
        return []
    counts = Counter(values.values())
    usual = max(sorted(counts, reverse=True), key=counts.__getitem__)
    return [(i, Problem("raw", text.format(n, usual))) for i, n in values.items() if n != usual]
