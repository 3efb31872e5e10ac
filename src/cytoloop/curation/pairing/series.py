"""One row per scene and time point of a file, for rows with ``scene=all`` or ``time=all``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cytoloop.errors import ImageError, ManifestError
from cytoloop.io.read import read_header
from cytoloop.manifest import Row


def expand_series(rows: Sequence[Row], where: str) -> list[Row]:
    """Return the rows, with ``all`` replaced by one row per scene and time point.

    Parameters
    ----------
    rows : sequence of Row
    where : str
        What the error calls the rows.

    Raises
    ------
    ManifestError
        A segmentation has another number of scenes or time points than raw.
    """
    found, problems = [], []
    for row in rows:
        parts = _expand_row(row)
        if len(parts) > 1:
            problems += _count_problems(row, parts)
        found += parts
    if problems:
        raise ManifestError(
            where,
            problems,
            "Name the file of each scene and time point in a CSV, with the columns raw, seg1, "
            "scene and time.",
        )
    return found


def _count_problems(row: Row, parts: Sequence[Row]) -> list[str]:
    """Return the segmentations that have another number of scenes or time points than raw."""
    problems = []
    scenes, times = (len({part[name] for part in parts}) for name in ("scene", "time"))
    for column in ("seg1", "seg2"):
        if not row[column] or row[f"scene_{column}"] or row[f"time_{column}"]:
            continue
        try:
            header = read_header(row.file(column) or "")
        except ImageError:
            continue  # the check of the row makes it a problem
        for count, there, what in (
            (scenes, len(header.scenes), "scenes"),
            (times, header.shape[0], "time points"),
        ):
            if count > 1 and there != count:
                problems.append(f"{row.where(column)}: has {there} {what} but raw has {count}")
    return problems


def _expand_row(row: Row) -> list[Row]:
    """Return one row per scene and time point where the row says ``all``, else the row."""
    every = [name for name in ("scene", "time") if row[name] == "all"]
    if not every:
        return [row]
    try:
        header = read_header(row.file("raw") or "")
        scenes = list(header.scenes) if "scene" in every else [row["scene"]]
        headers = {s: read_header(row.file("raw") or "", s or None) for s in scenes}
    except ImageError:  # the check of the row makes it a problem
        cleared = dict.fromkeys(every, "")
        return [replace(row, values={**row.values, **cleared})]
    rows = []
    for scene in scenes:
        count = headers[scene].shape[0]
        for time in range(count) if "time" in every else (row["time"],):
            name = row.id
            name += f"_{scene}" if "scene" in every and len(scenes) > 1 else ""
            name += f"_t{int(time):03d}" if "time" in every and count > 1 else ""
            values = {"id": name, "scene": scene, "time": str(time)}
            group = row["group"] or row.id  # all images of a file are in one split
            rows.append(replace(row, values={**row.values, **values, "group": group}))
    return rows
