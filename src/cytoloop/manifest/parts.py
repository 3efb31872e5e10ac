"""The part of a file that belongs to a row: its scene, time point and plane."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cytoloop.errors import ImageError
from cytoloop.io.read import read_header
from cytoloop.manifest.row import Row

_LABELS = "labels/"


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
    plane : int or None
        Plane of a stack, from 0; None: the whole image.
    """

    scene: str | None = None
    time: int | None = None
    axes: str | None = None
    plane: int | None = None


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

    A file with one scene, time point or plane belongs to the row whatever its scene, time and
    plane. Of a file with several, those that the row names count; where it names no scene or time
    point, reading refuses them.

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
    plane = row.plane if header.shape[2] > 1 else None
    return Part(scene, time if header.shape[0] > 1 else None, axes, plane)


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
