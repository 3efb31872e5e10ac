"""One row per scene, time point and plane of a file, for rows that name none."""

from __future__ import annotations

from collections.abc import Sequence

from cytoloop.errors import ImageError, ManifestError
from cytoloop.io.read import read_header
from cytoloop.manifest import Row, expand_row, stated_axes

_NAME_PARTS = (
    "Name the file of each scene and time point in a CSV, with the columns raw, seg1, scene and "
    "time."
)


def expand_series(rows: Sequence[Row], where: str) -> list[Row]:
    """Return the rows, and of files with several scenes or time points one row for each.

    Of a stack whose planes are pictures, each plane is a row.

    Parameters
    ----------
    rows : sequence of Row
    where : str
        What the error calls the rows.

    Raises
    ------
    ManifestError
        A segmentation has another number of scenes, time points or planes than raw.
    """
    found, problems, repairs = [], [], []
    for row in rows:
        try:
            parts = expand_row(row)
        except ManifestError as error:  # of its planes
            problems += error.problems
            repairs.append(error.repair)
            continue
        if len(parts) > 1:
            if faults := _count_problems(row, parts):
                problems += faults
                repairs.append(_NAME_PARTS)
            for part in parts:
                part.values["group"] = row["group"] or _group_of(row, part)
        found += parts
    if problems:
        raise ManifestError(where, problems, " ".join(dict.fromkeys(repairs)))
    return found


def _group_of(row: Row, part: Row) -> str:
    """Return the group of a part: all of a file are in one split; of a plate, all of a well."""
    well = part["scene"].rpartition("/")[0]
    return f"{row.id}_{well}" if well else row.id


def _count_problems(row: Row, parts: Sequence[Row]) -> list[str]:
    """Return the segmentations that have another number of scenes or time points than raw."""
    problems = []
    scenes, times = (len({part[name] for part in parts}) for name in ("scene", "time"))
    for column in ("seg1", "seg2"):
        if not row[column] or row[f"scene_{column}"] or row[f"time_{column}"]:
            continue
        try:
            header = read_header(row.file(column) or "", axes=stated_axes(row, column))
        except ImageError:
            continue  # the check of the row makes it a problem
        for count, there, what in (
            (scenes, len(header.scenes), "scenes"),
            (times, header.shape[0], "time points"),
        ):
            if count > 1 and there != count:
                problems.append(f"{row.where(column)}: has {there} {what} but raw has {count}")
    return problems
