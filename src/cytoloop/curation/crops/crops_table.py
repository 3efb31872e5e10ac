"""The table `crops.csv`: the part of an image that each picture shows, and the objects in it."""

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
_CORE = ("core_y0", "core_x0", "core_y1", "core_x1")
_BOX = ("crop_y0", "crop_x0", "crop_y1", "crop_x1")
_NUMBERS = ("seen", "owned", "wide")
_COLUMNS = (
    *("picture", "image", "raw", "sha256", "z", *_CORE, *_BOX, "shape", "spacing_um"),
    *("objects", *_NUMBERS, "status", "annotator"),
)
_REQUIRED = ("picture", "image", "raw", "sha256", *_CORE, *_BOX, "shape", "status")
_MAX_RANGE = 1 << 20
"""Most object numbers in a range like 1..9: a damaged table must not fill the memory."""


@dataclass(frozen=True)
class CropPlane:
    """One picture of the project: a 2D crop, or one plane of a 3D crop.

    Attributes
    ----------
    picture : str
        Name in the project.
    z : int or None
        Plane; None if the image is 2D.
    core, box : Box
        As in `Crop`.
    seen : frozenset of int
        Objects in the picture when the image was cut.
    owned : frozenset of int
        Those of them that belong to this crop.
    wide : frozenset of int
        Owned objects that reach beyond the crop.
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
        Hash of the raw file when it was cut.
    shape : tuple of int
        ([Z,] Y, X).
    spacing_um : tuple of float or None
        Voxel size (Z, Y, X).
    planes : tuple of CropPlane
        All planes of the first crop, then of the second, and so on.
    """

    id: str
    raw: Path
    sha256: str
    shape: tuple[int, ...]
    spacing_um: Spacing | None
    planes: tuple[CropPlane, ...]


def table_rows(image: CutImage, raw: str) -> list[dict[str, object]]:
    """Return the rows of ``crops.csv`` for an image; `raw` is written as its raw file."""
    common = {"image": image.id, "raw": raw, "sha256": image.sha256}
    common |= {"shape": "x".join(map(str, image.shape))}
    common |= {"spacing_um": format_spacing(image.spacing_um)}
    return [
        {
            **common,
            "picture": plane.picture,
            "z": plane.z,
            **dict(zip(_CORE, plane.core, strict=True)),
            **dict(zip(_BOX, plane.box, strict=True)),
            "objects": len(plane.seen),
            **{name: _format_numbers(getattr(plane, name)) for name in _NUMBERS},
            "status": "done" if plane.done else "todo",
        }
        for plane in image.planes
    ]


def write_crops_table(path: Path, rows: Iterable[dict[str, object]]) -> None:
    """Write ``crops.csv``."""
    write_manifest(path, rows, _COLUMNS)


def read_crops_table(path: Path) -> list[CutImage]:
    """Read ``crops.csv``.

    Raises
    ------
    ManifestError
        All invalid cells and repeated pictures; or all images that their crops do not tile.
    """
    manifest = read_manifest(path, _REQUIRED)
    problems: list[str] = []
    groups: dict[str, list[tuple[Row, CropPlane]]] = {}
    names: set[str] = set()
    for row in manifest:
        try:
            plane = _parse_plane(row)
        except ValueError as error:
            problems.append(f"row {row.number} ({row['picture']}): {error}")
            continue
        if plane.picture in names:
            problems.append(f"row {row.number}: picture {plane.picture!r} is named twice")
        names.add(plane.picture)
        groups.setdefault(row["image"], []).append((row, plane))
    images = []
    for group in groups.values() if not problems else ():
        try:
            images.append(_make_image(group))
        except ValueError as error:
            problems.append(f"{group[0][0]['image']}: {error}")
    if problems:
        raise ManifestError(
            str(path), problems, "Restore the table; edit only its columns status and annotator."
        )
    return images


def _parse_plane(row: Row) -> CropPlane:
    """Return the picture of a row; ValueError names the invalid cell."""
    core, box = (Box(*(_parse_whole(row, name) for name in names)) for names in (_CORE, _BOX))
    if min(core.shape) < 1 or not box.contains(core):
        raise ValueError("its core is empty, or not inside the crop")
    if row["status"] not in ("todo", "done"):
        raise ValueError(f"status {row['status']!r}, expected todo or done")
    seen, owned, wide = (_parse_numbers(row, name) for name in _NUMBERS)
    z = _parse_whole(row, "z") if row["z"] else None
    return CropPlane(row["picture"], z, core, box, seen, owned, wide, row["status"] == "done")


def _make_image(group: list[tuple[Row, CropPlane]]) -> CutImage:
    """Return the image of a group of pictures; ValueError says why they do not fit together."""
    for name in ("raw", "sha256", "shape", "spacing_um"):
        if len({row[name] for row, _ in group}) > 1:
            raise ValueError(f"its pictures differ in {name}")
    row, planes = group[0][0], tuple(plane for _, plane in group)
    sizes = row["shape"].split("x")
    if len(sizes) not in (2, 3) or not all(n.isdecimal() and int(n) for n in sizes):
        raise ValueError(f"shape {row['shape']!r}, expected for example 60x256x256")
    shape = tuple(map(int, sizes))
    zs = sorted({-1 if plane.z is None else plane.z for plane in planes})
    if zs != ([-1] if len(shape) == 2 else list(range(shape[0]))):
        raise ValueError(f"its pictures do not show all planes of {row['shape']}")
    cores = {plane.core: plane.box for plane in planes}
    area = sum(math.prod(core.shape) for core in cores)
    inside = all(Box(0, 0, *shape[-2:]).contains(box) for box in cores.values())
    if (
        not inside
        or area != math.prod(shape[-2:])
        or any(a.overlaps(b) for a, b in combinations(cores, 2))
        or len({(plane.core, plane.box, plane.z) for plane in planes}) != len(cores) * len(zs)
        or len(planes) != len(cores) * len(zs)
    ):
        raise ValueError(f"its crops do not tile {row['shape']} without gaps and overlaps")
    raw = row.file("raw") or Path()
    return CutImage(row["image"], raw, row["sha256"], shape, row.spacing_um, planes)


def _parse_whole(row: Row, name: str) -> int:
    text = row[name]
    if not (text.isascii() and text.isdecimal()) or len(text) > 7:
        raise ValueError(f"{name} {text!r}, expected a whole number below 10000000")
    return int(text)


def _format_numbers(numbers: Iterable[int]) -> str:
    """Return numbers as ranges, in a form that spreadsheets do not convert to dates or numbers.

    >>> _format_numbers([1, 2, 3, 7])
    '1..3|7'
    """
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return "|".join(f"{a}..{b}" if b > a else str(a) for a, b in runs)


def _parse_numbers(row: Row, name: str) -> frozenset[int]:
    """Return the numbers that `_format_numbers` wrote."""
    found: set[int] = set()
    for part in row[name].split("|") if row[name] else ():
        ends = part.split("..")
        valid = len(ends) <= 2 and all(n.isascii() and n.isdecimal() for n in ends)
        low, high = (int(ends[0]), int(ends[-1])) if valid else (0, 0)
        if not 0 < low <= high < 1 << 32 or high - low >= _MAX_RANGE:
            raise ValueError(f"{name} {part!r}, expected an object number or a range like 1..3")
        found.update(range(low, high + 1))
    return frozenset(found)
