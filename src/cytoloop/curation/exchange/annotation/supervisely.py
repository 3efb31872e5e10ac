"""Supervisely format: a project folder with images, and objects as bitmaps or polygons."""

from __future__ import annotations

import base64
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from cytoloop.curation.exchange.annotation.objects import (
    DrawnObject,
    flat_indices,
    iter_objects,
    paint_picture,
    polygon_indices,
)
from cytoloop.curation.exchange.annotation.picture import Picture
from cytoloop.curation.exchange.annotation.project_files import (
    choose_class,
    duplicate_names,
    get_typed,
    parse_number,
    parse_shape,
    read_checked,
    read_image_shape,
    read_json,
    write_bytes,
    write_png,
)
from cytoloop.errors import ImageError, ManifestError
from cytoloop.io.names import stem
from cytoloop.truth.regions import Polygon
from cytoloop.truth.regions.parse import parse_polygons

_MAX_BYTES = 1 << 26
"""Largest unpacked PNG of an object; usual ones have kilobytes."""


def write(folder: Path, pictures: Iterable[Picture], title: str = "object") -> None:
    """Write a project with one dataset, ``pictures``.

    Objects are bitmaps with the tag ``number``. The tag ``done`` marks a picture as done.

    Parameters
    ----------
    folder : Path
        An existing empty folder.
    pictures : iterable of Picture
        Consumed one at a time.
    title : str
        Class of the objects.

    Raises
    ------
    ImageError
        A picture has no image.
    """
    for name in ("img", "ann"):
        (folder / "pictures" / name).mkdir(parents=True)
    for picture in pictures:
        write_png(folder / "pictures" / "img" / f"{picture.name}.png", picture)
        height, width = picture.labels.shape
        annotation = {
            "description": "",
            "tags": [{"name": "done", "value": None}] if picture.done else [],
            "size": {"height": height, "width": width},
            "objects": [
                {
                    "classTitle": title,
                    "description": "",
                    "geometryType": "bitmap",
                    "tags": [{"name": "number", "value": str(number)}],
                    "bitmap": {"data": _encode_png(mask), "origin": [corner[1], corner[0]]},
                }
                for number, corner, mask in iter_objects(picture.labels)
            ],
        }
        _write_json(folder / "pictures" / "ann" / f"{picture.name}.png.json", annotation)
    meta = {
        "classes": [{"title": title, "shape": "bitmap", "color": "#2ECC71"}],
        "tags": [
            {"name": "number", "value_type": "any_string", "color": "#3498DB"},
            {"name": "done", "value_type": "none", "color": "#E67E22"},
        ],
        "projectType": "images",
    }
    _write_json(folder / "meta.json", meta)


def is_project(path: Path) -> bool:
    """Return whether a path is a folder with ``meta.json`` and a folder ``ann`` below it."""
    return (path / "meta.json").is_file() and any(path.rglob("ann"))


def read(path: Path, title: str | None = None) -> Iterator[Picture]:
    """Return the pictures of all datasets of a project, without their images.

    Parameters
    ----------
    path : Path
        The project's folder.
    title : str, optional
        Class of the objects to read. Default: the only class of the project.

    Returns
    -------
    iterator of Picture
        Decoded one at a time.

    Raises
    ------
    ManifestError
        All faults of the project.
    """
    classes = _read_classes(path)
    chosen = choose_class(str(path / "meta.json"), classes, title)
    files = sorted(file for folder in path.rglob("ann") for file in folder.glob("*.json"))
    named = ((file.relative_to(path).as_posix(), _picture_name(file)) for file in files)
    read_one = partial(_read_picture, root=path, classes=classes, title=chosen)
    return read_checked(path, files, read_one, duplicate_names(named))


def _picture_name(file: Path) -> str:
    return stem(file.name[: -len(".json")])


def _read_classes(path: Path) -> list[str]:
    try:
        classes = get_typed(read_json(path / "meta.json"), "classes", list)
        return [get_typed(one, "title", str) for one in classes]
    except ValueError as error:
        raise ManifestError(
            str(path / "meta.json"), str(error), "Name the folder of a Supervisely project."
        ) from error


def _read_picture(file: Path, root: Path, classes: list[str], title: str) -> Picture:
    where = file.relative_to(root).as_posix()
    try:
        annotation = read_json(file)
        shape = parse_shape(get_typed(annotation, "size", dict))
        image = file.parent.parent / "img" / file.name[: -len(".json")]
        if image.is_file() and (found := read_image_shape(image)) != shape:
            raise ValueError(f"size (Y, X) is {shape}, but its image is {found}")
        entries = get_typed(annotation, "objects", list)
        done = any(get_typed(tag, "name", str) == "done" for tag in _tags(annotation))
    except ValueError as error:
        raise ImageError(where, str(error)) from error
    objects, problems = [], []
    for position, one in enumerate(entries, start=1):
        try:
            if (own := get_typed(one, "classTitle", str)) not in classes:
                raise ValueError(f"class {own!r:.60} is not in meta.json")
            if own == title:
                objects.append(DrawnObject(f"object {position}", _object_number(one), one))
        except ValueError as error:
            problems.append(f"object {position}: {error}")
    to_indices = partial(_object_indices, shape=shape)
    return paint_picture(where, _picture_name(file), shape, objects, to_indices, done, problems)


def _tags(value: object) -> list[object]:
    return get_typed(value, "tags", list) if isinstance(value, dict) and "tags" in value else []


def _object_number(one: dict[str, object]) -> int | None:
    """Return the value of an object's tag ``number``, None if it has no such tag."""
    tags = [tag for tag in _tags(one) if get_typed(tag, "name", str) == "number"]
    numbers = {parse_number(tag.get("value")) for tag in tags if isinstance(tag, dict)}
    if len(numbers) > 1:
        raise ValueError(f"has {len(numbers)} numbers, expected one: {sorted(numbers)[:5]}")
    return numbers.pop() if numbers else None


def _object_indices(one: dict[str, object], shape: tuple[int, int]) -> np.ndarray:
    """Return the flat pixel indices of an object."""
    kind = get_typed(one, "geometryType", str)
    if kind == "bitmap":
        return _bitmap_indices(get_typed(one, "bitmap", dict), shape)
    if kind == "polygon":
        points = get_typed(one, "points", dict)
        interior = get_typed(points, "interior", list) if "interior" in points else []
        holes = tuple(_parse_ring(hole) for hole in interior)
        return polygon_indices([Polygon(_parse_ring(points.get("exterior")), holes)], shape)
    raise ValueError(f"is a {kind[:40]}, expected a bitmap or a polygon")


def _parse_ring(points: object) -> np.ndarray:
    """Return the vertices (N, 2) in (y, x) of a list of (x, y)."""
    if not isinstance(points, list):
        raise ValueError("points are not an outline, expected [[x, y], ...]")
    try:
        return parse_polygons("", [points])[0].exterior[:, ::-1]
    except ImageError as error:
        raise ValueError(f"points are not an outline: {error.problems[0]}") from error


def _bitmap_indices(bitmap: dict[str, object], shape: tuple[int, int]) -> np.ndarray:
    origin = get_typed(bitmap, "origin", list)
    if len(origin) != 2 or any(type(n) is not int for n in origin):
        raise ValueError("origin is not a pair of whole numbers [x, y]")
    (left, top), data = origin, _unpack(get_typed(bitmap, "data", str))
    mask = _decode_png(data, shape)
    if min(top, left) < 0 or top + mask.shape[0] > shape[0] or left + mask.shape[1] > shape[1]:
        raise ValueError(
            f"bitmap (Y, X) {mask.shape} at {(top, left)} is not inside the picture {shape}"
        )
    return flat_indices(mask, (top, left), shape)


def _unpack(text: str) -> bytes:
    """Return the bytes of base64 text with zlib compression."""
    try:
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(base64.b64decode(text, validate=True), _MAX_BYTES)
    except (ValueError, zlib.error) as error:
        raise ValueError(f"data cannot be unpacked: {str(error)[:80]}") from error
    if not unpacker.eof:
        large = len(data) == _MAX_BYTES
        raise ValueError(f"data is larger than {_MAX_BYTES} bytes" if large else "data is cut off")
    return data


def _decode_png(data: bytes, shape: tuple[int, int]) -> np.ndarray:
    """Return the mask (Y, X) of a PNG: its opaque pixels, or without alpha those above 0."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            width, height = image.size
            if height > shape[0] or width > shape[1]:
                raise ValueError(f"{width} x {height} pixels, larger than the picture")
            if "A" in image.getbands() or "transparency" in image.info:
                plain = image.convert("RGBA").getchannel("A")
            else:
                plain = image.convert("RGB") if image.mode == "P" else image
            values = np.asarray(plain)
    except Exception as error:  # Pillow raises many types for damaged bytes
        raise ValueError(f"data is not a valid PNG: {str(error)[:80]}") from error
    return (values if values.ndim == 2 else values.max(axis=2)) > 0


def _encode_png(mask: np.ndarray) -> str:
    """Return a mask (Y, X) as Supervisely writes it: a PNG with transparent background."""
    from PIL import Image

    image = Image.fromarray(mask.astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 255, 255, 255])
    packed = io.BytesIO()
    image.save(packed, format="PNG", transparency=0, bits=1, optimize=True)
    return base64.b64encode(zlib.compress(packed.getvalue())).decode()


def _write_json(path: Path, content: object) -> None:
    write_bytes(path, json.dumps(content).encode())
