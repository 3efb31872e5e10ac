"""``crops.csv``: which picture shows which part of which image, and what was on it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from cytoloop.curation.crops.tiles import Box
from cytoloop.errors import ManifestError
from cytoloop.io.voxel_size import Spacing
from cytoloop.manifest import Row, format_spacing, read_manifest, write_manifest

TABLE = "crops.csv"
PROJECT = "project"
_CORE = ("core_y0", "core_x0", "core_y1", "core_x1")
_BOX = ("crop_y0", "crop_x0", "crop_y1", "crop_x1")
COLUMNS = (
    *("picture", "image", "raw", "sha256", "z", *_CORE, *_BOX, "shape", "spacing_um"),
    *("objects", "seen", "owned", "wide", "status", "annotator"),
)
_REQUIRED = ("picture", "image", "raw", "sha256", *_CORE, *_BOX, "shape", "status")
_LARGEST = 1 << 20  # pixels of an edge, and objects of a range: a table can claim anything


@dataclass(frozen=True)
class Shot:
    """A picture of the project: a crop, or one plane of it.

    Attributes
    ----------
    picture : str
        Name in the project.
    z : int or None
        Plane; None where the image is flat.
    core, box : Box
        As in `Crop`.
    seen, owned, wide : frozenset of int
        Objects on the picture when it was cut; those of them that belong to this crop; those
        of these that reach beyond the crop.
    done : bool
        The table says that the picture is finished.
    """

    picture: str
    z: int | None
    core: Box
    box: Box
    seen: frozenset[int]
    owned: frozenset[int]
    wide: frozenset[int]
    done: bool = False


@dataclass(frozen=True)
class CutImage:
    """An image that was cut.

    Attributes
    ----------
    id : str
    raw : Path
        Absolute.
    sha256 : str
        Of the raw file when it was cut.
    shape : tuple of int
        ([Z,] Y, X).
    spacing_um : tuple of float or None
    shots : tuple of Shot
        Crop by crop, and in each plane by plane.
    """

    id: str
    raw: Path
    sha256: str
    shape: tuple[int, ...]
    spacing_um: Spacing | None
    shots: tuple[Shot, ...]


def cells_of(image: CutImage, raw: str) -> list[dict[str, object]]:
    """Return the rows of ``crops.csv`` for an image, whose raw file is named `raw` there."""
    whole = {"image": image.id, "raw": raw, "sha256": image.sha256}
    whole |= {"shape": "x".join(map(str, image.shape))}
    whole |= {"spacing_um": format_spacing(image.spacing_um)}
    return [
        {
            **whole,
            "picture": shot.picture,
            "z": shot.z,
            **dict(zip(_CORE, shot.core, strict=True)),
            **dict(zip(_BOX, shot.box, strict=True)),
            "objects": len(shot.seen),
            **{name: _format(getattr(shot, name)) for name in ("seen", "owned", "wide")},
            "status": "done" if shot.done else "todo",
        }
        for shot in image.shots
    ]


def write_record(path: Path, cells: Iterable[dict[str, object]]) -> None:
    """Write ``crops.csv``."""
    write_manifest(path, cells, COLUMNS)


def read_record(path: Path) -> list[CutImage]:
    """Read ``crops.csv``.

    Raises
    ------
    ManifestError
        Cells that cannot be, pictures named twice, crops that do not tile their image; all of
        them.
    """
    manifest = read_manifest(path, _REQUIRED)
    problems: list[str] = []
    groups: dict[str, list[tuple[Row, Shot]]] = {}
    names: set[str] = set()
    for row in manifest:
        try:
            shot = _shot(row)
        except ValueError as error:
            problems.append(f"row {row.number} ({row['picture']}): {error}")
            continue
        if shot.picture in names:
            problems.append(f"row {row.number}: picture {shot.picture!r} is named twice")
        names.add(shot.picture)
        groups.setdefault(row["image"], []).append((row, shot))
    images = []
    for group in groups.values() if not problems else ():
        try:
            images.append(_image(group))
        except ValueError as error:
            problems.append(f"{group[0][0]['image']}: {error}")
    if problems:
        raise ManifestError(
            str(path), problems, "Only the columns status and annotator are meant to be changed."
        )
    return images


def _shot(row: Row) -> Shot:
    """Return the picture of a row; ValueError says which cell cannot be."""
    core, box = (Box(*(_whole(row, name) for name in names)) for names in (_CORE, _BOX))
    if min(core.shape) < 1 or not box.contains(core):
        raise ValueError("its core is empty, or not inside the crop")
    if row["status"] not in ("todo", "done"):
        raise ValueError(f"status {row['status']!r}, expected todo or done")
    seen, owned, wide = (_parse(row, name) for name in ("seen", "owned", "wide"))
    z = _whole(row, "z") if row["z"] else None
    return Shot(row["picture"], z, core, box, seen, owned, wide, row["status"] == "done")


def _image(group: list[tuple[Row, Shot]]) -> CutImage:
    """Return the image of its pictures; ValueError says why they make none."""
    for name in ("raw", "sha256", "shape", "spacing_um"):
        if len({row[name] for row, _ in group}) > 1:
            raise ValueError(f"its pictures differ in {name}")
    row, shots = group[0][0], tuple(shot for _, shot in group)
    sizes = row["shape"].split("x")
    if len(sizes) not in (2, 3) or not all(n.isdecimal() and int(n) for n in sizes):
        raise ValueError(f"shape {row['shape']!r}, expected for example 60x256x256")
    shape = tuple(map(int, sizes))
    planes = sorted({-1 if shot.z is None else shot.z for shot in shots})
    if planes != ([-1] if len(shape) == 2 else list(range(shape[0]))):
        raise ValueError(f"its pictures are not of all planes of {row['shape']}")
    cores = {shot.core: shot.box for shot in shots}
    area = sum(math.prod(core.shape) for core in cores)
    inside = all(Box(0, 0, *shape[-2:]).contains(box) for box in cores.values())
    if (
        not inside
        or area != math.prod(shape[-2:])
        or any(a.meets(b) for a, b in combinations(cores, 2))
        or len({(shot.core, shot.box, shot.z) for shot in shots}) != len(cores) * len(planes)
        or len(shots) != len(cores) * len(planes)
    ):
        raise ValueError(f"its crops do not tile {row['shape']} without gaps and overlaps")
    raw = row.file("raw") or Path()
    return CutImage(row["image"], raw, row["sha256"], shape, row.spacing_um, shots)


def _whole(row: Row, name: str) -> int:
    text = row[name]
    if not (text.isascii() and text.isdecimal()) or len(text) > 7:
        raise ValueError(f"{name} {text!r} is no whole number")
    return int(text)


def _format(numbers: Iterable[int]) -> str:
    """Return numbers as a text that no spreadsheet takes for a date or a number.

    >>> _format([1, 2, 3, 7])
    '1..3|7'
    """
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return "|".join(f"{a}..{b}" if b > a else str(a) for a, b in runs)


def _parse(row: Row, name: str) -> frozenset[int]:
    found: set[int] = set()
    for part in row[name].split("|") if row[name] else ():
        ends = part.split("..")
        if len(ends) > 2 or not all(n.isascii() and n.isdecimal() for n in ends):
            raise ValueError(f"{name} {part!r} is no object number, or a range as 1..3")
        low, high = int(ends[0]), int(ends[-1])
        if not 0 < low <= high < 1 << 32 or high - low >= _LARGEST:
            raise ValueError(f"{name} {part!r} is no object number, or a range as 1..3")
        found.update(range(low, high + 1))
    return frozenset(found)
