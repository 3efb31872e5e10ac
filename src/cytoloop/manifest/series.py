"""Scenes and time points: a row for each, and the part of a file that belongs to a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cytoloop.errors import ConfigError, ImageError
from cytoloop.io.read import read_header
from cytoloop.manifest.row import Row

_LABELS = "labels/"
ALL = "all"
"""Value of ``scene`` and ``time`` for a row each, which is also the meaning of an empty cell."""


@dataclass(frozen=True)
class Part:
    """The part of a file that belongs to a row.

    Attributes
    ----------
    scene : str or None
        None: the only one.
    time : int or None
        None: the only one.
    axes : str or None
        The axes as the user states them; None: as the file states them.
    """

    scene: str | None = None
    time: int | None = None
    axes: str | None = None


def stated_axes(row: Row, column: str = "raw") -> str | None:
    """Return the axes that a row states for a file.

    The axes of raw count for a partner without axes of its own, with a ``?``: they are used where
    the file states none.
    """
    own = row["axes" if column == "raw" else f"axes_{column}"]
    if own or column == "raw":
        return own or None
    return f"{row['axes'].rstrip('?')}?" if row["axes"] else None


def part_of(row: Row, column: str, path: str | Path) -> Part:
    """Return the part of a partner of raw that belongs to a row: labels, a mask, a map.

    A file with one scene and one time point belongs to the row whatever its scene and time. Of a
    file with several, those that the row names count; where it names none, reading refuses them.

    Raises
    ------
    ImageError
        The file cannot be read.
    """
    axes, scene = stated_axes(row, column), row[f"scene_{column}"] or None
    if scene and scene.startswith(_LABELS) and row["scene"]:
        scene = f"{row['scene']}/{scene}"  # labels of this image of an OME-Zarr collection
    header = read_header(path, scene, axes)
    if scene is None and len(header.scenes) > 1:
        scene = _partner_scene(row, header.scenes)
        header = read_header(path, scene, axes)
    time = row.segmentation_time(column)
    return Part(scene, time if header.shape[0] > 1 else None, axes)


def _partner_scene(row: Row, scenes: tuple[str, ...]) -> str | None:
    """Return the scene of a partner: of the same name, else of the same number as in raw."""
    wanted = row["scene"]
    if not wanted or wanted in scenes or wanted.isdigit() or not row["raw"]:
        return wanted or None
    try:
        known = read_header(row.file("raw") or "").scenes
    except ImageError:
        return wanted
    same = len(known) == len(scenes) and wanted in known
    return scenes[known.index(wanted)] if same else wanted


def expand_row(row: Row, column: str = "raw") -> list[Row]:
    """Return a row for each scene and time point of a file that the row does not name.

    The ids end in ``_SCENE`` of a file with several scenes and in ``_t000`` of one with several
    time points, so that the rows of an image, its labels and its prediction have the same ids.

    Parameters
    ----------
    row : Row
    column : str
        Column of the file.
    """
    if ALL in (row["scene"], row["time"]):
        cleared = {name: "" for name in ("scene", "time") if row[name] == ALL}
        row = replace(row, values={**row.values, **cleared})
    if row["scene"] and row["time"]:
        return [row]
    try:
        return list(_expand(row, column))
    except ImageError:
        return [row]  # the row fails when it is read, with the reason


def _expand(row: Row, column: str) -> Iterator[Row]:
    path, axes = row.file(column) or "", stated_axes(row, column)
    scenes = read_header(path, axes=axes).scenes
    is_series = not row["scene"] and len(scenes) > 1
    for scene in scenes if is_series else (row["scene"],):
        # a partner with one scene belongs to the scene of its row, whatever its name
        is_only = column != "raw" and len(scenes) == 1
        count = read_header(path, None if is_only else scene or None, axes).shape[0]
        is_movie = not row["time"] and count > 1
        for time in map(str, range(count)) if is_movie else (row["time"],):
            name = row.id + (f"_{scene}" if is_series else "")
            name += f"_t{int(time):03d}" if is_movie else ""
            values = {"id": name, "scene": scene, "time": time}
            is_same = not is_series and not is_movie
            yield row if is_same else replace(row, values={**row.values, **values})


def series_cells(where: str, values: Mapping[str, object]) -> dict[str, str]:
    """Return the cells that the settings of scene, time point and axes fill.

    Parameters
    ----------
    where : str
        The command, for the error.
    values : mapping
        ``scene``, ``time``, ``axes`` ... to a value or None.

    Raises
    ------
    ConfigError
        A time point that is neither a whole number from 0 nor ``all``.
    """
    cells = {name: str(value).strip() for name, value in values.items() if value is not None}
    problems = [
        f"{name}={text}: expected a time point from 0, or all"
        for name, text in cells.items()
        if name.startswith("time") and text != ALL and not text.isdigit()
    ]
    if problems:
        raise ConfigError(where, problems, "For example time=0; without it each becomes a row.")
    return cells
