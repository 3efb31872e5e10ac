"""Supervisely: a project of pictures, with objects as bitmaps; polygons are read too."""

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
    Drawn,
    draw_picture,
    objects_of,
    places,
    polygon_places,
)
from cytoloop.curation.exchange.annotation.picture import Picture
from cytoloop.curation.exchange.annotation.project_files import (
    choose_title,
    image_shape,
    read_all,
    read_json,
    read_number,
    read_shape,
    second_names,
    take,
    write_bytes,
    write_gray,
)
from cytoloop.errors import ImageError, ManifestError
from cytoloop.io.names import stem
from cytoloop.truth.regions import Polygon
from cytoloop.truth.regions.vertices import polygons_of

NAME = "supervisely"
_MAX_BYTES = 1 << 26  # of a PNG: bitmaps of one object take kilobytes


def write_pictures(folder: Path, pictures: Iterable[Picture], title: str = "object") -> None:
    """Write a project with one dataset, ``pictures``.

    Parameters
    ----------
    folder : Path
        Exists and is empty.
    pictures : iterable of Picture
        Taken one at a time.
    title : str
        Class of the objects. Each has its number as a tag; ``done`` is a tag of the picture.

    Raises
    ------
    ImageError
        A picture without an image.
    """
    for name in ("img", "ann"):
        (folder / "pictures" / name).mkdir(parents=True)
    for picture in pictures:
        write_gray(folder / "pictures" / "img" / f"{picture.name}.png", picture)
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
                    "bitmap": {"data": _encode(mask), "origin": [corner[1], corner[0]]},
                }
                for number, corner, mask in objects_of(picture.labels)
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
    """Tell whether a path is the folder of a project."""
    return (path / "meta.json").is_file() and any(path.rglob("ann"))


def read_pictures(path: Path, title: str | None = None) -> Iterator[Picture]:
    """Read the pictures of all datasets of a project, without their images.

    Parameters
    ----------
    path : Path
        The project's folder.
    title : str, optional
        Class of the objects to read; default the only one of the project.

    Returns
    -------
    iterator of Picture
        Decoded one at a time.

    Raises
    ------
    ManifestError
        All faults of the project.
    """
    titles = _read_titles(path)
    chosen = choose_title(str(path / "meta.json"), titles, title)
    files = sorted(file for folder in path.rglob("ann") for file in folder.glob("*.json"))
    named = ((file.relative_to(path).as_posix(), _name(file)) for file in files)
    read = partial(_read, root=path, titles=titles, title=chosen)
    return read_all(path, files, read, second_names(named))


def _name(file: Path) -> str:
    return stem(file.name[: -len(".json")])


def _read_titles(path: Path) -> list[str]:
    try:
        classes = take(read_json(path / "meta.json"), "classes", list)
        return [take(one, "title", str) for one in classes]
    except ValueError as error:
        raise ManifestError(
            str(path / "meta.json"), str(error), "Name the folder of a Supervisely project."
        ) from error


def _read(file: Path, root: Path, titles: list[str], title: str) -> Picture:
    where = file.relative_to(root).as_posix()
    try:
        annotation = read_json(file)
        shape = read_shape(take(annotation, "size", dict))
        image = file.parent.parent / "img" / file.name[: -len(".json")]
        if image.is_file() and image_shape(image) != shape:
            raise ValueError(f"size is (Y, X) {shape}, but its picture's is {image_shape(image)}")
        objects = take(annotation, "objects", list)
        done = any(take(tag, "name", str) == "done" for tag in _tags(annotation))
    except ValueError as error:
        raise ImageError(where, str(error)) from error
    drawn, problems = [], []
    for place, one in enumerate(objects, start=1):
        try:
            if (own := take(one, "classTitle", str)) not in titles:
                raise ValueError(f"class {own!r:.60} is not in meta.json")
            if own == title:
                drawn.append(Drawn(f"object {place}", _number(one), one))
        except ValueError as error:
            problems.append(f"object {place}: {error}")
    pixels = partial(_pixels, shape=shape)
    return draw_picture(where, _name(file), shape, drawn, pixels, done, problems)


def _tags(value: object) -> list[object]:
    return take(value, "tags", list) if isinstance(value, dict) and "tags" in value else []


def _number(one: dict[str, object]) -> int | None:
    """Return the number of an object by its tag, None without one."""
    tags = [tag for tag in _tags(one) if take(tag, "name", str) == "number"]
    numbers = {read_number(tag.get("value")) for tag in tags if isinstance(tag, dict)}
    if len(numbers) > 1:
        raise ValueError(f"has {len(numbers)} numbers: {sorted(numbers)[:5]}")
    return numbers.pop() if numbers else None


def _pixels(one: dict[str, object], shape: tuple[int, int]) -> np.ndarray:
    kind = take(one, "geometryType", str)
    if kind == "bitmap":
        return _bitmap(take(one, "bitmap", dict), shape)
    if kind == "polygon":
        points = take(one, "points", dict)
        interior = take(points, "interior", list) if "interior" in points else []
        holes = tuple(_ring(hole) for hole in interior)
        return polygon_places([Polygon(_ring(points.get("exterior")), holes)], shape)
    raise ValueError(f"is a {kind[:40]}, expected a bitmap or a polygon")


def _ring(points: object) -> np.ndarray:
    """Return the (y, x) of a list of (x, y)."""
    if not isinstance(points, list):
        raise ValueError("its points are no outline, expected [[x, y], ...]")
    try:
        return polygons_of("", [points])[0].exterior[:, ::-1]
    except ImageError as error:
        raise ValueError(f"its points are no outline: {error.problems[0]}") from error


def _bitmap(bitmap: dict[str, object], shape: tuple[int, int]) -> np.ndarray:
    origin = take(bitmap, "origin", list)
    if len(origin) != 2 or any(type(n) is not int for n in origin):
        raise ValueError("origin is no [x, y] of whole numbers")
    (left, top), data = origin, _inflate(take(bitmap, "data", str))
    mask = _decode(data, shape)
    if min(top, left) < 0 or top + mask.shape[0] > shape[0] or left + mask.shape[1] > shape[1]:
        raise ValueError(
            f"bitmap (Y, X) {mask.shape} at {(top, left)} lies outside of the picture {shape}"
        )
    return places(mask, (top, left), shape)


def _inflate(text: str) -> bytes:
    try:
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(base64.b64decode(text, validate=True), _MAX_BYTES)
    except (ValueError, zlib.error) as error:
        raise ValueError(f"data cannot be unpacked: {str(error)[:80]}") from error
    if not unpacker.eof:
        large = len(data) == _MAX_BYTES
        raise ValueError(f"data is {'far too large' if large else 'cut off'}")
    return data


def _decode(data: bytes, shape: tuple[int, int]) -> np.ndarray:
    """Return the mask (Y, X) of a PNG: its alpha, or what is not black."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            width, height = image.size
            if height > shape[0] or width > shape[1]:
                raise ValueError(f"it is {width} x {height}, larger than the picture")
            if "A" in image.getbands() or "transparency" in image.info:
                plain = image.convert("RGBA").getchannel("A")
            else:
                plain = image.convert("RGB") if image.mode == "P" else image
            values = np.asarray(plain)
    except Exception as error:  # Pillow fails on broken bytes in many ways
        raise ValueError(f"data is no PNG of an object: {str(error)[:80]}") from error
    return (values if values.ndim == 2 else values.max(axis=2)) > 0


def _encode(mask: np.ndarray) -> str:
    """Return a mask as Supervisely's own programs write it: background is transparent."""
    from PIL import Image

    image = Image.fromarray(mask.astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 255, 255, 255])
    packed = io.BytesIO()
    image.save(packed, format="PNG", transparency=0, bits=1, optimize=True)
    return base64.b64encode(zlib.compress(packed.getvalue())).decode()


def _write_json(path: Path, content: object) -> None:
    write_bytes(path, json.dumps(content).encode())
