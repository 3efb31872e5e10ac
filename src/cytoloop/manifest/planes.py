"""Planes of stacks as pictures of their own: a row for each plane."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from cytoloop.errors import ConfigError, ManifestError
from cytoloop.io.pixels import open_pixels
from cytoloop.io.read import read_header
from cytoloop.manifest.parts import Part, part_of, stated_axes
from cytoloop.manifest.row import ALL_PLANES, ANNOTATED_PLANES, PLANE_WORDS, Row

PLANES_EXPECTED = f"true, false, {' or '.join(PLANE_WORDS)}"
"""Values of the key ``planes``, for messages."""


def plane_cell(value: object) -> str:
    """Return the cell ``plane`` that a value of the key ``planes`` fills.

    Raises
    ------
    ConfigError
        The value is none of `PLANES_EXPECTED`.

    >>> plane_cell(True), plane_cell("annotated"), plane_cell(None)
    ('all', 'annotated', '')
    """
    if value is None or value is False:
        return ""
    if value is True or value in PLANE_WORDS:
        return ALL_PLANES if value is True else str(value)
    raise ConfigError(
        "planes",
        f"is {value!r}, expected {PLANES_EXPECTED}",
        "A single plane is named in the column plane of a table.",
    )


def expand_planes(row: Row, column: str = "raw") -> Iterator[Row]:
    """Yield a row for each plane of a stack whose column ``plane`` holds ``all`` or ``annotated``.

    Other rows are yielded as they are, an image of one plane without the word. The ids end in
    ``_z000``. The planes of a stack are one group, which is never divided between splits.

    Parameters
    ----------
    row : Row
        Its scene and time point are named.
    column : str
        Column of the file that has the planes.

    Raises
    ------
    ImageError
        The file cannot be read.
    ManifestError
        A segmentation has another number of planes than raw, or no plane has a label.
    """
    if row["plane"] not in PLANE_WORDS:
        yield row
        return
    part = _part(row, column)
    count = read_header(row.file(column) or "", part.scene, part.axes).shape[2]
    if count == 1:
        yield replace(row, values={**row.values, "plane": ""})
        return
    if column == "raw":
        _check_counts(row, count)
    numbers: Sequence[int] = range(count)
    if row["plane"] == ANNOTATED_PLANES and row["seg1"]:
        numbers = annotated_planes(row)
        if not numbers:
            raise ManifestError(
                "planes",
                f"{row.where(_columns(row)[0])}: has no label in any of its {count} planes",
                "Annotate a plane, or leave this stack out.",
            )
    for number in numbers:
        cells = {"id": f"{row.id}_z{number:03d}", "plane": str(number)}
        yield replace(row, values={**row.values, **cells, "group": row["group"] or row.id})


def stack_of(row: Row) -> str:
    """Return a name of the stack that a plane belongs to, the same for all its planes."""
    return repr((row.location("raw"), row["scene"], row["time"]))


def annotated_planes(row: Row) -> list[int]:
    """Return the planes of a stack that have a label, from 0.

    The base segmentation counts, and the other one where the row merges it. Ignore values are no
    labels.
    """
    found: set[int] = set()
    for column in _columns(row):
        path, part = row.file(column) or "", _part(row, column)
        channel = row[f"channel_{column}"] or None
        pixels = open_pixels(path, channel, part.scene, part.time, axes=part.axes)
        sides = tuple(slice(0, n) for n in pixels.shape[1:])
        for number in range(pixels.shape[0]):
            plane = pixels.read((slice(number, number + 1), *sides))
            labels = plane[plane != 0]
            if labels.size and not np.isin(labels, row.ignore_labels).all():
                found.add(number)
    return sorted(found)


def _columns(row: Row) -> list[str]:
    """Return the segmentations that the target of a row is made from, the base first."""
    columns = ["seg2", "seg1"] if row["base_image"] == "seg2" else ["seg1", "seg2"]
    merges = row["seg2"] and (row["merge_mask"] or row["merge"])
    return columns if merges else columns[:1]


def _part(row: Row, column: str) -> Part:
    """Return the scene and time point of a row's file, with all planes."""
    if column == "raw":
        return Part(row["scene"] or None, row.time, stated_axes(row))
    return part_of(row, column, row.file(column) or "")


def _check_counts(row: Row, count: int) -> None:
    """Refuse segmentations with another number of planes than raw.

    Raises
    ------
    ManifestError
        All of them.
    """
    problems = []
    for column in ("seg1", "seg2"):
        path = row.file(column) if row[column] else None
        if path is None or not path.exists():
            continue  # the check of the row makes it a problem
        part = _part(row, column)
        there = read_header(path, part.scene, part.axes).shape[2]
        if there != count:
            problems.append(f"{row.where(column)}: has {there} plane(s) but raw has {count}")
    if problems:
        raise ManifestError(
            f"row {row.number} ({row.id})",
            problems,
            "Give labels of the same planes; or a table with the column plane, the number (from "
            "0) of the plane of raw that one picture of labels shows.",
        )
