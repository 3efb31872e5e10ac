"""COCO: `instances.json`, with objects as run lengths; polygons are read too."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.curation.exchange.annotation.objects import Drawn, draw_picture, objects_of, places
from cytoloop.curation.exchange.annotation.picture import Picture
from cytoloop.curation.exchange.annotation.project_files import (
    choose_title,
    image_shape,
    inner_path,
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

NAME = "coco"
_LONGEST = 2_000_000
"""Pixels along the outlines of an object: what bounds the memory that pycocotools takes."""


def write_pictures(folder: Path, pictures: Iterable[Picture], title: str = "object") -> None:
    """Write ``instances.json`` and ``images/``.

    Parameters
    ----------
    folder : Path
        Exists and is empty.
    pictures : iterable of Picture
        Taken one at a time.
    title : str
        Category of the objects. Each has the attribute ``number``, a picture ``done``.

    Raises
    ------
    ImageError
        A picture without an image.
    """
    (folder / "images").mkdir()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for picture in pictures:
        name = f"{picture.name}.png"
        write_gray(folder / "images" / name, picture)
        height, width = picture.labels.shape
        entry = {"id": len(images) + 1, "file_name": name, "height": height, "width": width}
        images.append({**entry, "attributes": {"done": picture.done}})
        for number, corner, mask in objects_of(picture.labels):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": len(images),
                    "category_id": 1,
                    "segmentation": _encode(mask, corner, (height, width)),
                    "area": int(np.count_nonzero(mask)),
                    "bbox": [corner[1], corner[0], mask.shape[1], mask.shape[0]],
                    "iscrowd": 0,
                    "attributes": {"number": number},
                }
            )
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": title, "supercategory": ""}],
    }
    write_bytes(folder / "instances.json", json.dumps(content).encode())


def is_project(path: Path) -> bool:
    """Tell whether a path is a COCO file, or a folder with one (``instances*.json``)."""
    return bool(_files(path))


def read_pictures(path: Path, title: str | None = None) -> Iterator[Picture]:
    """Read the pictures of a COCO file, without their images.

    Parameters
    ----------
    path : Path
        The file, or a folder with one ``instances*.json`` in it or in its ``annotations``.
        Images are looked for in ``images`` beside it, only to compare their sizes.
    title : str, optional
        Category of the objects to read; default the only one of the file.

    Returns
    -------
    iterator of Picture
        Decoded one at a time.

    Raises
    ------
    ManifestError
        All faults of the file.
    """
    files = _files(path)
    if len(files) != 1:
        names = ", ".join(file.relative_to(path).as_posix() for file in files) or "none"
        raise ManifestError(
            str(path), f"expected one instances*.json, found {names}", "Name the file to read."
        )
    file = files[0]
    try:
        content = read_json(file)
        images, annotations = (take(content, key, list) for key in ("images", "annotations"))
        categories = [
            (take(one, "id", int), take(one, "name", str))
            for one in take(content, "categories", list)
        ]
    except ValueError as error:
        raise ManifestError(str(file), str(error), "Expected COCO's instances.") from error
    chosen = choose_title(str(file), [name for _, name in categories], title)
    problems: list[str] = []
    objects = _sort(annotations, dict(categories), chosen, problems)
    entries = _check_images(images, objects, problems)
    problems += [
        f"annotation {place}: image_id {one['image_id']!r:.40} is no image"
        for ones in objects.values()
        for place, one in ones
    ]
    return read_all(file, entries, partial(_read, folder=file.parent), problems)


_Objects = list[tuple[int, dict[str, Any]]]
_Image = tuple[int, dict[str, Any], _Objects]


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix.lower() == ".json" else []
    return sorted((*path.glob("instances*.json"), *path.glob("annotations/instances*.json")))


def _sort(
    annotations: list[Any], categories: dict[int, str], title: str, problems: list[str]
) -> dict[int, _Objects]:
    """Return the annotations of a category, with their places, by image id."""
    objects: dict[int, _Objects] = {}
    for place, one in enumerate(annotations, start=1):
        try:
            image, category = take(one, "image_id", int), take(one, "category_id", int)
            if category not in categories:
                raise ValueError(f"category_id {category!r:.40} is no category")
            if categories[category] == title:
                objects.setdefault(image, []).append((place, one))
        except ValueError as error:
            problems.append(f"annotation {place}: {error}")
    return objects


def _check_images(
    images: list[Any], objects: dict[int, _Objects], problems: list[str]
) -> list[_Image]:
    """Return the images that can be read, with the annotations taken out of `objects`."""
    entries, named = [], []
    ids: Counter[int] = Counter()
    for place, one in enumerate(images, start=1):
        try:
            number = take(one, "id", int)
            ids[number] += 1
            name = stem(inner_path(take(one, "file_name", str)))
            if ids[number] > 1:
                raise ValueError(f"id {number!r:.40} is taken by an image before it")
            named.append((f"image {place}", name))
            entries.append((place, one, objects.pop(number, [])))
        except ValueError as error:
            problems.append(f"image {place}: {error}")
    for number in ids:
        objects.pop(number, None)  # of an image whose own fault is named
    problems += second_names(named)
    return entries


def _read(entry: _Image, folder: Path) -> Picture:
    place, image, annotations = entry
    where = f"image {place}"
    try:
        file = inner_path(take(image, "file_name", str))
        where += f", {file.as_posix()}"
        shape = read_shape(image)
        beside = folder / "images" / file
        if beside.is_file() and image_shape(beside) != shape:
            raise ValueError(f"size is (Y, X) {shape}, but its picture's is {image_shape(beside)}")
        done = _attributes(image).get("done") is True
    except ValueError as error:
        raise ImageError(where, str(error)) from error
    drawn, problems = [], []
    for number, one in annotations:
        try:
            given = _attributes(one).get("number")
            own = None if given is None else read_number(given)
            drawn.append(Drawn(f"annotation {number}", own, one.get("segmentation")))
        except ValueError as error:
            problems.append(f"annotation {number}: {error}")
    pixels = partial(_pixels, shape=shape)
    return draw_picture(where, stem(file), shape, drawn, pixels, done, problems)


def _attributes(value: dict[str, Any]) -> dict[str, Any]:
    return take(value, "attributes", dict) if "attributes" in value else {}


def _pixels(segmentation: object, shape: tuple[int, int]) -> np.ndarray:
    """Return `places` of a segmentation in any of COCO's three forms."""
    if isinstance(segmentation, list):
        counts = _counts(_polygon_text(segmentation, shape))
    else:
        size = take(segmentation, "size", list)
        if size != list(shape):
            raise ValueError(f"size {str(size)[:60]} differs from its image's, {list(shape)}")
        found = segmentation.get("counts") if isinstance(segmentation, dict) else None
        counts = _counts(found) if isinstance(found, str) else _whole(found)
    if len(counts) and (counts.min() < 0 or counts.max() > shape[0] * shape[1]):
        raise ValueError("counts are no run lengths: one is below 0 or past its image")
    if counts.sum() != shape[0] * shape[1]:
        raise ValueError(f"counts add up to {counts.sum()}, its image has {shape[0] * shape[1]}")
    stops = np.cumsum(counts)[1::2]
    runs = counts[1::2]
    column_major = np.arange(runs.sum()) + np.repeat(stops - np.cumsum(runs), runs)
    x, y = np.divmod(column_major, shape[0])
    return y * shape[1] + x


def _whole(counts: object) -> np.ndarray:
    """Return uncompressed run lengths."""
    if not isinstance(counts, list) or not all(type(n) is int and abs(n) < 1 << 32 for n in counts):
        raise ValueError("counts are neither text nor whole numbers")
    return np.array(counts, np.int64)


def _counts(text: str) -> np.ndarray:
    """Return the run lengths in a compressed text.

    Not by pycocotools: of a text that ends early it returns what happens to be in the memory.
    Characters hold five bits each, low ones first, and whether more follow; from the fourth on,
    a number is the difference from the one before the last.
    """
    codes = np.frombuffer(text.encode("utf-8", "replace"), np.uint8).astype(np.int64) - 48
    if len(codes) and (codes.min() < 0 or codes.max() > 63 or codes[-1] & 32):
        raise ValueError("counts are no compressed run lengths")
    last = np.flatnonzero(codes & 32 == 0)
    first = np.concatenate([[0], last[:-1] + 1]) if len(last) else last
    if len(last) and (last - first).max() > 6:
        raise ValueError("counts are no compressed run lengths: one has too many digits")
    shift = 5 * (np.arange(len(codes)) - np.repeat(first, last - first + 1))
    values = np.add.reduceat((codes & 31) << shift, first) if len(last) else codes
    values -= np.where(codes[last] & 16, np.int64(1) << (shift[last] + 5), 0)
    values[1::2] = np.cumsum(values[1::2])
    evens = values[2::2]
    values[2::2] = np.cumsum(evens)
    return values


def _polygon_text(polygons: list[Any], shape: tuple[int, int]) -> str:
    """Return the compressed run lengths of what any of some polygons holds."""
    from pycocotools import mask

    length = 0.0
    for polygon in polygons:
        if not isinstance(polygon, list) or not all(type(n) in (int, float) for n in polygon):
            raise ValueError("segmentation is no list of polygons [x, y, x, y, ...]")
        if len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(f"a polygon has {len(polygon)} numbers, expected x, y of 3 or more")
        if not all(abs(n) < _LONGEST for n in polygon):  # NaN neither
            raise ValueError("a polygon lies far outside of any image")
        ring = np.array(polygon, np.float64).reshape(-1, 2)
        length += np.abs(ring - np.roll(ring, 1, axis=0)).max(axis=1).sum()
    if not polygons or length > _LONGEST:
        raise ValueError(f"segmentation is an outline of {length:.0f} pixels")
    merged = mask.merge(mask.frPyObjects(polygons, *shape))
    return str(merged["counts"], "ascii")


def _encode(mask: np.ndarray, corner: tuple[int, int], shape: tuple[int, int]) -> dict[str, Any]:
    """Return the compressed run lengths of a mask (Y, X) at a corner of a picture."""
    from pycocotools import mask as rle

    turned = places(mask.T, corner[::-1], shape[::-1])  # column after column, as COCO counts
    breaks = np.flatnonzero(np.diff(turned) > 1)
    starts, stops = turned[np.r_[0, breaks + 1]], turned[np.r_[breaks, -1]] + 1
    edges = np.stack([starts, stops], axis=1).ravel()
    counts = np.diff(edges, prepend=0, append=shape[0] * shape[1])
    packed = rle.frPyObjects({"size": list(shape), "counts": counts.tolist()}, *shape)
    return {"size": list(shape), "counts": str(packed["counts"], "ascii")}
