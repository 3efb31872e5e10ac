"""COCO format: `instances.json` with one annotation per object, and an `images` folder."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.curation.exchange.annotation.coco_segmentation import (
    decode_segmentation,
    encode_mask,
)
from cytoloop.curation.exchange.annotation.objects import DrawnObject, iter_objects, paint_picture
from cytoloop.curation.exchange.annotation.picture import Picture
from cytoloop.curation.exchange.annotation.project_files import (
    choose_class,
    duplicate_names,
    get_typed,
    parse_number,
    parse_relative_path,
    parse_shape,
    read_checked,
    read_image_shape,
    read_json,
    write_bytes,
    write_png,
)
from cytoloop.errors import ImageError, ManifestError
from cytoloop.io.names import stem

_Annotations = list[tuple[int, dict[str, Any]]]  # position in the file, annotation
_Entry = tuple[int, dict[str, Any], _Annotations]  # position in the file, image, its annotations


def write(folder: Path, pictures: Iterable[Picture], title: str = "object") -> None:
    """Write ``instances.json`` and ``images/``.

    Objects are written as run-length encoded masks with the attribute ``number``. Images have
    the attribute ``done``.

    Parameters
    ----------
    folder : Path
        An existing empty folder.
    pictures : iterable of Picture
        Consumed one at a time.
    title : str
        Category of the objects.

    Raises
    ------
    ImageError
        A picture has no image.
    """
    (folder / "images").mkdir()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for picture in pictures:
        name = f"{picture.name}.png"
        write_png(folder / "images" / name, picture)
        height, width = picture.labels.shape
        entry = {"id": len(images) + 1, "file_name": name, "height": height, "width": width}
        images.append({**entry, "attributes": {"done": picture.done}})
        for number, corner, mask in iter_objects(picture.labels):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": len(images),
                    "category_id": 1,
                    "segmentation": encode_mask(mask, corner, (height, width)),
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
    """Return whether a path is a JSON file, or a folder with a file ``instances*.json``."""
    return bool(_instances_files(path))


def read(path: Path, title: str | None = None) -> Iterator[Picture]:
    """Return the pictures of a COCO file, without their images.

    Parameters
    ----------
    path : Path
        The file, or a folder that holds one ``instances*.json``, directly or in its folder
        ``annotations``. Sizes are compared with the images in the folder ``images`` beside the
        file, if there are any.
    title : str, optional
        Category of the objects to read. Default: the only category of the file.

    Returns
    -------
    iterator of Picture
        Decoded one at a time.

    Raises
    ------
    ManifestError
        All faults of the file.
    """
    files = _instances_files(path)
    if len(files) != 1:
        names = ", ".join(file.relative_to(path).as_posix() for file in files) or "none"
        raise ManifestError(
            str(path), f"expected one instances*.json, found {names}", "Name the file to read."
        )
    file = files[0]
    try:
        content = read_json(file)
        images, annotations = (get_typed(content, key, list) for key in ("images", "annotations"))
        categories = [
            (get_typed(one, "id", int), get_typed(one, "name", str))
            for one in get_typed(content, "categories", list)
        ]
    except ValueError as error:
        raise ManifestError(
            str(file), str(error), "Export it again as COCO instances (object detection)."
        ) from error
    chosen = choose_class(str(file), [name for _, name in categories], title)
    problems: list[str] = []
    by_image = _group_by_image(annotations, dict(categories), chosen, problems)
    entries = _check_images(images, by_image, problems)
    problems += [
        f"annotation {position}: no image has the id {one['image_id']!r:.40}"
        for group in by_image.values()
        for position, one in group
    ]
    return read_checked(file, entries, partial(_read_picture, folder=file.parent), problems)


def _instances_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix.lower() == ".json" else []
    return sorted((*path.glob("instances*.json"), *path.glob("annotations/instances*.json")))


def _group_by_image(
    annotations: list[Any], categories: dict[int, str], title: str, problems: list[str]
) -> dict[int, _Annotations]:
    """Return the annotations of one category by image id."""
    groups: dict[int, _Annotations] = {}
    for position, one in enumerate(annotations, start=1):
        try:
            image, category = get_typed(one, "image_id", int), get_typed(one, "category_id", int)
            if category not in categories:
                raise ValueError(f"no category has the id {category!r:.40}")
            if categories[category] == title:
                groups.setdefault(image, []).append((position, one))
        except ValueError as error:
            problems.append(f"annotation {position}: {error}")
    return groups


def _check_images(
    images: list[Any], by_image: dict[int, _Annotations], problems: list[str]
) -> list[_Entry]:
    """Return the valid images with their annotations, which are removed from `by_image`.

    Annotations of faulty images are removed, too: the fault of the image is reported once.
    """
    entries, named = [], []
    ids: Counter[int] = Counter()
    for position, one in enumerate(images, start=1):
        try:
            number = get_typed(one, "id", int)
            ids[number] += 1
            name = stem(parse_relative_path(get_typed(one, "file_name", str)))
            if ids[number] > 1:
                raise ValueError(f"an earlier image has the same id, {number!r:.40}")
            named.append((f"image {position}", name))
            entries.append((position, one, by_image.pop(number, [])))
        except ValueError as error:
            problems.append(f"image {position}: {error}")
    for number in ids:
        by_image.pop(number, None)
    problems += duplicate_names(named)
    return entries


def _read_picture(entry: _Entry, folder: Path) -> Picture:
    position, image, annotations = entry
    where = f"image {position}"
    try:
        file = parse_relative_path(get_typed(image, "file_name", str))
        where += f", {file.as_posix()}"
        shape = parse_shape(image)
        image_file = folder / "images" / file
        if image_file.is_file() and (found := read_image_shape(image_file)) != shape:
            raise ValueError(f"size (Y, X) is {shape}, but its image is {found}")
        done = _attributes(image).get("done") is True
    except ValueError as error:
        raise ImageError(where, str(error)) from error
    objects, problems = [], []
    for number, one in annotations:
        try:
            given = _attributes(one).get("number")
            own = None if given is None else parse_number(given)
            objects.append(DrawnObject(f"annotation {number}", own, one.get("segmentation")))
        except ValueError as error:
            problems.append(f"annotation {number}: {error}")
    to_indices = partial(decode_segmentation, shape=shape)
    return paint_picture(where, stem(file), shape, objects, to_indices, done, problems)


def _attributes(value: dict[str, Any]) -> dict[str, Any]:
    return get_typed(value, "attributes", dict) if "attributes" in value else {}
