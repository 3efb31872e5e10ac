"""What the projects of annotation tools share: files that cannot be trusted, objects drawn."""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any, TypeVar

import numpy as np

from cytoloop.curation.exchange.pictures import Picture
from cytoloop.errors import CytoloopError, ImageError, ManifestError
from cytoloop.images import SUFFIXES, read_header
from cytoloop.regions import Polygon, polygons_to_mask

LARGEST_NUMBER = (1 << 32) - 1
"""Of an object."""
_MAX_PIXELS = 400_000_000
_MAX_JSON = 1 << 29  # bytes
_PNG = b"\x89PNG\r\n\x1a\n"
_KINDS = {str: "text", int: "a whole number", list: "a list", dict: "an object {...}"}
_Entry = TypeVar("_Entry")
_Kind = TypeVar("_Kind")


@dataclass(frozen=True)
class Drawn:
    """An object as a tool wrote it down.

    Attributes
    ----------
    what : str
        What the error calls it, ``object 3``.
    number : int or None
        None if it was drawn anew.
    form : Any
        Its pixels in the form of the tool.
    """

    what: str
    number: int | None
    form: Any


def read_all(
    path: Path,
    entries: Sequence[_Entry],
    read: Callable[[_Entry], Picture],
    problems: Iterable[str] = (),
) -> Iterator[Picture]:
    """Return the pictures of a project, once all of them have been read without a fault.

    They are read twice, so that one at a time is in memory.

    Parameters
    ----------
    path : Path
        The project.
    entries : sequence
        What `read` makes a picture of.
    read : callable
        Raises ``ImageError`` with all faults of a picture.
    problems : iterable of str
        Faults that are known already.

    Raises
    ------
    ManifestError
        All faults of the project.
    """
    problems = list(problems)
    for entry in entries:
        try:
            read(entry)
        except CytoloopError as error:
            problems += [f"{error.where}: {problem}" for problem in error.problems]
    if problems:
        raise ManifestError(str(path), problems, "Correct these files, or export them again.")
    return map(read, entries)


def second_names(named: Iterable[tuple[str, str]]) -> list[str]:
    """Return the problem of each (where, name of the picture) whose name is taken before it."""
    first: dict[str, str] = {}
    return [
        f"{where}: is a second picture {name!r}, after {first[name]}"
        for where, name in named
        if first.setdefault(name, where) != where
    ]


def choose_title(where: str, titles: Sequence[str], title: str | None) -> str:
    """Return the class to read: the one asked for, or the only one.

    Raises
    ------
    ManifestError
        It is not there, or none was asked for and there is not exactly one.
    """
    if title is None and len(titles) == 1:
        return titles[0]
    if title is not None and title in titles:
        return title
    found = ", ".join(map(repr, titles)) or "none"
    raise ManifestError(
        where,
        f"has no class {title!r}, but {found}" if title else f"expected one class, found {found}",
        "Name the class to read.",
    )


def draw_picture(
    where: str,
    name: str,
    shape: tuple[int, int],
    drawn: Sequence[Drawn],
    pixels: Callable[[Any], np.ndarray],
    done: bool,
    problems: Iterable[str] = (),
) -> Picture:
    """Return the picture of objects; later ones lie on top, those of one number are one.

    Parameters
    ----------
    where : str
        The file, for the error.
    name : str
    shape : tuple of int
        (Y, X).
    drawn : sequence of Drawn
    pixels : callable
        Returns the places of a form's pixels, as `places`, or raises ValueError.
    done : bool
    problems : iterable of str
        Faults of the picture that are known already.

    Raises
    ------
    ImageError
        All faults of the picture.
    """
    problems = list(problems)
    largest = max((one.number for one in drawn if one.number is not None), default=0)
    added = range(largest + 1, largest + 1 + sum(one.number is None for one in drawn))
    if added and added[-1] > LARGEST_NUMBER:
        problems.append(f"has an object {largest}, and no number left for {len(added)} new ones")
        added = range(1, 1 + len(added))
    free = iter(added)
    labels = np.zeros(shape, np.uint32)
    for one in drawn:
        number = next(free) if one.number is None else one.number
        try:
            labels.reshape(-1)[pixels(one.form)] = number
        except ValueError as error:
            problems.append(f"{one.what}: {error}")
    if problems:
        raise ImageError(where, problems)
    new = frozenset(added)
    return Picture(name, labels, None, done, new & set(np.unique(labels).tolist()) if new else new)


def places(mask: np.ndarray, corner: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """Return where the pixels of a mask (Y, X) at a corner lie in a raveled picture."""
    y, x = np.nonzero(mask)
    return (y + corner[0]) * shape[1] + (x + corner[1])


def polygon_places(polygons: Sequence[Polygon], shape: tuple[int, int]) -> np.ndarray:
    """Return `places` of the pixels that polygons hold within a picture."""
    if not polygons:
        return np.zeros(0, np.int64)
    outlines = np.concatenate([polygon.exterior for polygon in polygons])
    top, left = (int(n) for n in np.clip(np.floor(outlines.min(axis=0)), 0, shape))
    bottom, right = (int(n) for n in np.clip(np.ceil(outlines.max(axis=0)) + 1, 0, shape))
    corner = np.array([top, left])
    moved = [
        Polygon(p.exterior - corner, tuple(hole - corner for hole in p.holes)) for p in polygons
    ]
    return places(polygons_to_mask(moved, (bottom - top, right - left)), (top, left), shape)


def objects_of(labels: np.ndarray) -> Iterator[tuple[int, tuple[int, int], np.ndarray]]:
    """Yield number, corner (Y, X) and mask (Y, X) of each object, by number."""
    from scipy import ndimage

    numbers, compact = np.unique(labels, return_inverse=True)  # numbers may be in the billions
    compact = compact.reshape(labels.shape) + int(numbers[0] != 0)
    boxes = ndimage.find_objects(compact)
    for place, (number, box) in enumerate(zip(numbers[numbers > 0], boxes, strict=True), start=1):
        yield int(number), (box[0].start, box[1].start), compact[box] == place


def take(value: object, key: str, kind: type[_Kind]) -> _Kind:
    """Return what a JSON object has under a key.

    Raises
    ------
    ValueError
        No object, no such key, or another kind of value.
    """
    if not isinstance(value, dict):
        raise ValueError(f"is {_kind(value)}, expected {_KINDS[dict]}")
    if key not in value:
        raise ValueError(f"{key} is missing")
    found = value[key]
    if not isinstance(found, kind) or isinstance(found, bool):
        raise ValueError(f"{key} is {_kind(found)}, expected {_KINDS[kind]}")
    return found


def read_number(value: object) -> int:
    """Return the number of an object, from a whole number or its text.

    Raises
    ------
    ValueError
        It is none, or not from 1 to 2**32 - 1.
    """
    if isinstance(value, str) and re.fullmatch("[0-9]{1,10}", value):
        value = int(value)
    if type(value) is not int or not 0 < value <= LARGEST_NUMBER:
        raise ValueError(f"number {value!r:.40} is none from 1 to {LARGEST_NUMBER}")
    return value


def read_shape(value: object) -> tuple[int, int]:
    """Return (Y, X) of what has ``height`` and ``width``.

    Raises
    ------
    ValueError
        It has none, or they are no size of a picture.
    """
    return check_shape((take(value, "height", int), take(value, "width", int)))


def check_shape(shape: tuple[int, int]) -> tuple[int, int]:
    """Return (Y, X) of a picture that fits into memory.

    Raises
    ------
    ValueError
        It is none.
    """
    if min(shape) < 1 or shape[0] * shape[1] > _MAX_PIXELS:
        text = f"{shape[1]} x {shape[0]}"[:60]
        raise ValueError(f"{text} is no size of a picture: up to {_MAX_PIXELS} pixels")
    return shape


def inner_path(text: str) -> Path:
    """Return a path below a folder.

    Raises
    ------
    ValueError
        It names no file, or leads out of the folder.
    """
    path = PureWindowsPath(text)  # takes both kinds of slashes
    if not path.name or not text.isprintable() or path.anchor or ".." in path.parts:
        raise ValueError(f"{text!r:.80} is no file below the folder")
    return Path(*path.parts)


def read_json(path: Path) -> object:
    """Return the content of a JSON file.

    Raises
    ------
    ValueError
        Not readable, too large, or no JSON.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(_MAX_JSON + 1)
        if len(text) > _MAX_JSON:
            raise ValueError(f"it is larger than {_MAX_JSON >> 20} MB")
        return json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"is no JSON: {str(error)[:120]}") from error


def image_shape(path: Path) -> tuple[int, int]:
    """Return (Y, X) of an image file, without its pixels.

    Raises
    ------
    ValueError
        Not readable, not flat, or of no size of a picture.
    """
    from PIL import Image

    if path.name.lower().endswith(SUFFIXES):
        try:
            shape = read_header(path).spatial
        except ImageError as error:
            raise ValueError(f"{path.name}: {error.problems[0]}") from error
        if len(shape) != 2:
            raise ValueError(f"{path.name} is a stack {shape}, expected a flat picture")
        return check_shape((shape[0], shape[1]))
    try:
        with path.open("rb") as file:
            head = file.read(24)
            if head.startswith(_PNG):  # here and not by Pillow, which stops at fewer pixels
                width, height = struct.unpack(">II", head[16:])
            else:
                file.seek(0)
                width, height = Image.open(file).size
    except Exception as error:  # Pillow fails on broken bytes in many ways
        raise ValueError(f"{path.name} is no image that can be read") from error
    return check_shape((height, width))


def write_gray(path: Path, picture: Picture) -> None:
    """Write the image of a picture as an 8-bit PNG.

    Raises
    ------
    ImageError
        It has none.
    """
    from PIL import Image

    if picture.image is None:
        raise ImageError(picture.name, "has no image to draw on")
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        Image.fromarray(picture.image).save(temporary, format="PNG")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "null" if value is None else type(value).__name__)
