"""Reading and writing the files of annotation projects.

Projects come from other programs, so every value is checked and sizes are limited.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PureWindowsPath
from typing import TypeVar

from cytoloop.curation.exchange.annotation.picture import Picture
from cytoloop.errors import CytoloopError, ImageError, ManifestError
from cytoloop.io.atomic import replacing
from cytoloop.io.read import read_header
from cytoloop.io.readers.formats import COMPANION_SUFFIXES, IMAGE_SUFFIXES

LARGEST_NUMBER = (1 << 32) - 1
"""Largest number of an object: labels are uint32."""
_MAX_PIXELS = 400_000_000
_MAX_JSON = 1 << 29  # characters
_PNG = b"\x89PNG\r\n\x1a\n"
_TYPE_NAMES = {str: "text", int: "a whole number", list: "a list", dict: "an object {...}"}
_Entry = TypeVar("_Entry")
_Type = TypeVar("_Type")


def read_checked(
    path: Path,
    entries: Sequence[_Entry],
    read: Callable[[_Entry], Picture],
    problems: Iterable[str] = (),
) -> Iterator[Picture]:
    """Read all pictures of a project once to check them, then return them one by one.

    Reading twice keeps only one picture in memory at a time.

    Parameters
    ----------
    path : Path
        The project.
    entries : sequence
        Arguments of `read`, one for each picture.
    read : callable
        Returns the picture of an entry. Raises ImageError with all its faults.
    problems : iterable of str
        Faults of the project that were found earlier.

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


def duplicate_names(named: Iterable[tuple[str, str]]) -> list[str]:
    """Return one problem for each picture name that an earlier picture has already.

    Parameters
    ----------
    named : iterable of (str, str)
        Where each picture was found, and its name.
    """
    first: dict[str, str] = {}
    return [
        f"{where}: is a second picture {name!r}, after {first[name]}"
        for where, name in named
        if first.setdefault(name, where) != where
    ]


def choose_class(where: str, classes: Sequence[str], title: str | None) -> str:
    """Return the class to read: `title`, or the only class of the project if `title` is None.

    Raises
    ------
    ManifestError
        The project has no class `title`, or `title` is None and it has not exactly one class.
    """
    if title is None and len(classes) == 1:
        return classes[0]
    if title is not None and title in classes:
        return title
    found = ", ".join(map(repr, classes)) or "none"
    raise ManifestError(
        where,
        f"has no class {title!r}, only {found}" if title else f"expected one class, found {found}",
        "Name the class to read with title=.",
    )


def get_typed(value: object, key: str, kind: type[_Type]) -> _Type:
    """Return the value of a key in a JSON object.

    Raises
    ------
    ValueError
        `value` is not a JSON object, the key is missing, or its value has another type.
    """
    if not isinstance(value, dict):
        raise ValueError(f"is {_type_name(value)}, expected {_TYPE_NAMES[dict]}")
    if key not in value:
        raise ValueError(f"{key} is missing")
    found = value[key]
    if not isinstance(found, kind) or isinstance(found, bool):
        raise ValueError(f"{key} is {_type_name(found)}, expected {_TYPE_NAMES[kind]}")
    return found


def parse_number(value: object) -> int:
    """Return the number of an object, given as a whole number or as text.

    Raises
    ------
    ValueError
        Not a whole number from 1 to 2**32 - 1.
    """
    if isinstance(value, str) and re.fullmatch("[0-9]{1,10}", value):
        value = int(value)
    if type(value) is not int or not 0 < value <= LARGEST_NUMBER:
        raise ValueError(
            f"number {value!r:.40}, expected a whole number from 1 to {LARGEST_NUMBER}"
        )
    return value


def parse_shape(value: object) -> tuple[int, int]:
    """Return (Y, X) of a JSON object with ``height`` and ``width``.

    Raises
    ------
    ValueError
        A key is missing, or the size is refused by `check_shape`.
    """
    return check_shape((get_typed(value, "height", int), get_typed(value, "width", int)))


def check_shape(shape: tuple[int, int]) -> tuple[int, int]:
    """Return the shape (Y, X) of a picture.

    Raises
    ------
    ValueError
        A side is below 1, or the picture has more than 400 million pixels.
    """
    if min(shape) < 1 or shape[0] * shape[1] > _MAX_PIXELS:
        text = f"{shape[1]} x {shape[0]}"[:60]
        raise ValueError(f"size {text}, expected 1 to {_MAX_PIXELS} pixels")
    return shape


def parse_relative_path(text: str) -> Path:
    """Return a path inside the project folder; both kinds of slashes are accepted.

    Raises
    ------
    ValueError
        The path is empty, absolute or leads out of the folder.
    """
    path = PureWindowsPath(text)
    if not path.name or not text.isprintable() or path.anchor or ".." in path.parts:
        raise ValueError(f"{text!r:.80} is not a file inside the project folder")
    return Path(*path.parts)


def read_json(path: Path) -> object:
    """Return the content of a JSON file.

    Raises
    ------
    ValueError
        The file cannot be read, is not JSON, or has more than 512 Mi characters.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(_MAX_JSON + 1)
        if len(text) > _MAX_JSON:
            raise ValueError(f"larger than {_MAX_JSON >> 20} MB")
        return json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"is not valid JSON: {str(error)[:120]}") from error


def read_image_shape(path: Path) -> tuple[int, int]:
    """Return (Y, X) of a 2D image file, without reading its pixels.

    Raises
    ------
    ValueError
        The file cannot be read, is a stack, or its size is refused by `check_shape`.
    """
    from PIL import Image

    name = path.name.lower()
    if name.endswith(IMAGE_SUFFIXES) and not name.endswith(COMPANION_SUFFIXES):
        try:
            shape = read_header(path).spatial
        except ImageError as error:
            raise ValueError(f"{path.name}: {error.problems[0]}") from error
        if len(shape) != 2:
            raise ValueError(f"{path.name} is a stack {shape}, expected a 2D image")
        return check_shape((shape[0], shape[1]))
    try:
        with path.open("rb") as file:
            head = file.read(24)
            if head.startswith(_PNG):  # Pillow refuses images above about 179 million pixels
                width, height = struct.unpack(">II", head[16:])
            else:
                file.seek(0)
                width, height = Image.open(file).size
    except Exception as error:  # Pillow raises many types for damaged files
        raise ValueError(f"{path.name} is not a readable image") from error
    return check_shape((height, width))


def write_png(path: Path, picture: Picture) -> None:
    """Write the image of a picture as an 8-bit PNG.

    Raises
    ------
    ImageError
        The picture has no image.
    """
    from PIL import Image

    if picture.image is None:
        raise ImageError(picture.name, "has no image to draw on")
    with replacing(path) as temporary:
        Image.fromarray(picture.image).save(temporary, format="PNG")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, complete or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def _type_name(value: object) -> str:
    return _TYPE_NAMES.get(type(value), "null" if value is None else type(value).__name__)
