"""Duplicates and near-duplicates of images: in two splits they make scores too high."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from cytoloop.curation.checks.parts import are_apart
from cytoloop.curation.checks.quality_limits import Limit
from cytoloop.curation.checks.quality_metrics import fingerprint_vector
from cytoloop.curation.checks.result import CheckResult, Problem
from cytoloop.errors import ManifestError, truncate_lines
from cytoloop.manifest import Row

_BLOCK = 1024
"""Rows of the similarity matrix that are in memory at a time."""

_MAX_LISTED = 20

Nearest = Mapping[str, tuple[str, float]]
"""Row id to the id of the most similar image, and their correlation."""


def find_duplicates(
    rows: Sequence[Row], results: Sequence[CheckResult], sides: Sequence[str]
) -> list[tuple[int, Problem]]:
    """Return a problem for each row whose image an earlier row has on another side.

    Two rows have the same image if they use the same scene, time point and plane of the same raw
    file content, or if their pixels are equal. Parts of an image with a gap between them are no
    duplicates, see `cytoloop.curation.checks.parts.are_apart`.

    Parameters
    ----------
    rows, results : sequences
        Of equal length.
    sides : sequence of str
        The split or group of each row: the same image must not be on two sides.

    Returns
    -------
    list of (int, Problem)
        Index of the row and its problem.
    """
    earlier: dict[tuple[str, ...], list[int]] = {}
    found = []
    for i, (row, result) in enumerate(zip(rows, results, strict=True)):
        content = result.sha256.get("raw") or row.location("raw")
        keys: list[tuple[str, ...]] = [(content, row["scene"], row["time"], row["plane"])]
        if result.pixel_hash:
            keys.append((result.pixel_hash,))
        same = sorted({j for key in keys for j in earlier.get(key, ()) if sides[j] != sides[i]})
        shown = (j for j in same if not _are_unknown_parts(j, i, rows, results))
        other = next(
            (j for j in shown if not are_apart((rows[j], row), (results[j], result))), None
        )
        if other is not None:
            text = (
                f"same image as {rows[other].id} in {sides[other]!r}; "
                "keep one of them, or give both the same group"
            )
            found.append((i, Problem("raw", text)))
        for key in keys:
            earlier.setdefault(key, []).append(i)
    return found


def _are_unknown_parts(
    one: int, other: int, rows: Sequence[Row], results: Sequence[CheckResult]
) -> bool:
    """Return whether two rows of one file have problems of their own.

    They may be parts of an image that cannot be cut before these are repaired.
    """
    is_one_file = rows[one].location("raw") == rows[other].location("raw")
    return is_one_file and bool(results[one].problems and results[other].problems)


def find_nearest(
    results: Sequence[CheckResult], stacks: Mapping[str, str] | None = None
) -> dict[str, tuple[str, float]]:
    """Return the most similar other image of each row, with their correlation.

    The correlation is that of the fingerprints. Images with equal pixels have 1.

    Parameters
    ----------
    results : sequence of CheckResult
    stacks : mapping of str to str, optional
        Row id of a plane to its stack: the other planes of the stack, which are always similar,
        are left out.
    """
    usable = [result for result in results if result.fingerprint]
    if len(usable) < 2:
        return {}
    vectors = np.stack([fingerprint_vector(result.fingerprint) for result in usable])
    names = [(stacks or {}).get(result.id, f"row {result.id}") for result in usable]
    own = np.unique(names, return_inverse=True)[1]
    nearest = {}
    for start in range(0, len(usable), _BLOCK):
        similarity = vectors[start : start + _BLOCK] @ vectors.T
        similarity[own[start : start + _BLOCK, None] == own] = -1
        for offset, other in enumerate(np.argmax(similarity, axis=1)):
            value = min(float(similarity[offset, other]), 1.0)
            if value <= -1:  # all others are planes of this stack
                continue
            nearest[usable[start + offset].id] = (usable[other].id, round(value, 4))
    first: dict[tuple[str, str], str] = {}
    for result in usable:
        shown = (result.pixel_hash, result.fingerprint)  # parts of an image have one pixel hash
        if (copy := first.setdefault(shown, result.id)) != result.id:
            nearest[result.id], nearest[copy] = (copy, 1.0), (result.id, 1.0)
    return nearest


def add_similarity(results: Sequence[CheckResult], nearest: Nearest) -> list[CheckResult]:
    """Return results with the metric ``similarity``."""
    return [
        replace(result, metrics={**result.metrics, "similarity": nearest[result.id][1]})
        if result.id in nearest
        else result
        for result in results
    ]


def refuse_leaks(
    results: Sequence[CheckResult],
    splits: Mapping[str, str],
    folds: Mapping[str, int],
    limit: Limit,
) -> None:
    """Raise an error if near-duplicates are in different splits or folds.

    Parameters
    ----------
    results : sequence of CheckResult
    splits : mapping of str to str
        By row id.
    folds : mapping of str to int
        By row id.
    limit : Limit
        Limit of the metric ``similarity``.

    Raises
    ------
    ManifestError
        All such pairs.
    """
    usable = [result for result in results if result.fingerprint and result.id in splits]
    if limit.max is None or limit.action == "ignore" or len(usable) < 2:
        return
    vectors = np.stack([fingerprint_vector(result.fingerprint) for result in usable])
    sides = [(splits[result.id], folds.get(result.id, -1)) for result in usable]
    numbers = {side: number for number, side in enumerate(dict.fromkeys(sides))}
    side_numbers = np.array([numbers[side] for side in sides])
    lines = []
    for start in range(0, len(usable), _BLOCK):
        similarity = vectors[start : start + _BLOCK] @ vectors.T
        apart = side_numbers[start : start + _BLOCK, None] != side_numbers[None, :]
        for row, column in np.argwhere((similarity > limit.max) & apart):
            if column > start + row:
                one, other = usable[start + row].id, usable[column].id
                lines.append(
                    f"{one} ({_describe_side(sides[start + row])}) and {other} "
                    f"({_describe_side(sides[column])}) are near-duplicates "
                    f"(similarity {similarity[row, column]:.3f}, limit {limit.max:g})"
                )
    if lines:
        raise ManifestError(
            "splitting",
            truncate_lines(lines, _MAX_LISTED),
            "Scores on such a split are too high. Give both images the same group (group=), "
            "reject one of them in decisions.csv, or give split.leakage=allow.",
        )


def _describe_side(side: tuple[str, int]) -> str:
    return side[0] if side[1] < 0 else f"{side[0]}, fold {side[1]}"
