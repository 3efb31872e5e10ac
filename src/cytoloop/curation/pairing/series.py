"""Series: a row for each scene and time point of a file, where all of them are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cytoloop.errors import ImageError, ManifestError
from cytoloop.io.read import read_header
from cytoloop.manifest import Row


def expand(rows: Sequence[Row], where: str) -> list[Row]:
    """Return a row for each scene and time point where all of them are asked for.

    Raises
    ------
    ManifestError
        A segmentation that does not have as many of them.
    """
    found, problems = [], []
    for row in rows:
        parts = _expanded(row)
        if len(parts) > 1:
            problems += _too_few(row, parts)
        found += parts
    if problems:
        raise ManifestError(
            where,
            problems,
            "Name the image of each in a CSV, with the columns raw, seg1, scene and time.",
        )
    return found


def _too_few(row: Row, parts: Sequence[Row]) -> list[str]:
    problems = []
    scenes, times = (len({part[name] for part in parts}) for name in ("scene", "time"))
    for column in ("seg1", "seg2"):
        if not row[column] or row[f"scene_{column}"] or row[f"time_{column}"]:
            continue
        try:
            header = read_header(row.file(column) or "")
        except ImageError:
            continue  # its check will tell
        for count, there, what in (
            (scenes, len(header.scenes), "scenes"),
            (times, header.shape[0], "time points"),
        ):
            if count > 1 and there != count:
                problems.append(f"{row.where(column)}: has {there} of {what} but raw has {count}")
    return problems


def _expanded(row: Row) -> list[Row]:
    """Return the rows that a row with ``all`` stands for."""
    every = [name for name in ("scene", "time") if row[name] == "all"]
    if not every:
        return [row]
    try:
        header = read_header(row.file("raw") or "")
        scenes = list(header.scenes) if "scene" in every else [row["scene"]]
        headers = {s: read_header(row.file("raw") or "", s or None) for s in scenes}
    except ImageError:  # its check will tell why it cannot be read
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
            group = row["group"] or row.id  # pictures of one file stay together
            rows.append(replace(row, values={**row.values, **values, "group": group}))
    return rows
