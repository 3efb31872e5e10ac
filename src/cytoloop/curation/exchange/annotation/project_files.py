"""Files of annotation projects: read as what nobody vouches for, written whole."""

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
from cytoloop.io.names import SUFFIXES
from cytoloop.io.read import read_header

LARGEST_NUMBER = (1 << 32) - 1
"""Of an object."""
_MAX_PIXELS = 400_000_000
_MAX_JSON = 1 << 29  # bytes
_PNG = b"\x89PNG\r\n\x1a\n"
_KINDS = {str: "text", int: "a whole number", list: "a list", dict: "an object {...}"}
_Entry = TypeVar("_Entry")
_Kind = TypeVar("_Kind")


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
    with replacing(path) as temporary:
        Image.fromarray(picture.image).save(temporary, format="PNG")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "null" if value is None else type(value).__name__)
