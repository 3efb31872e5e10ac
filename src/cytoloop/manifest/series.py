"""Scenes, time points and planes: a row for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from cytoloop.errors import ConfigError, ImageError
from cytoloop.io.read import read_header
from cytoloop.manifest.parts import stated_axes
from cytoloop.manifest.planes import expand_planes
from cytoloop.manifest.row import Row

ALL = "all"
"""Value of ``scene`` and ``time`` for a row each, which is also the meaning of an empty cell."""


def expand_row(row: Row, column: str = "raw") -> list[Row]:
    """Return a row for each scene and time point of a file that the row does not name.

    The ids end in ``_SCENE`` of a file with several scenes and in ``_t000`` of one with several
    time points, so that the rows of an image, its labels and its prediction have the same ids. A
    stack whose planes are pictures becomes a row for each, see `expand_planes`.

    Parameters
    ----------
    row : Row
    column : str
        Column of the file.

    Raises
    ------
    ManifestError
        See `expand_planes`.
    """
    if ALL in (row["scene"], row["time"]):
        cleared = {name: "" for name in ("scene", "time") if row[name] == ALL}
        row = replace(row, values={**row.values, **cleared})
    try:
        rows = [row] if row["scene"] and row["time"] else list(_expand(row, column))
        return [plane for one in rows for plane in expand_planes(one, column)]
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
