"""Label images: what napari, Fiji with Labkit, Cellpose and others save without a project."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from cytoloop.curation.exchange.annotation.picture import Picture
from cytoloop.curation.exchange.annotation.project_files import (
    LARGEST_NUMBER,
    check_shape,
    image_shape,
    read_all,
    second_names,
)
from cytoloop.errors import ImageError, ManifestError
from cytoloop.io.files import list_images
from cytoloop.io.labels import read_labels
from cytoloop.io.names import stem
from cytoloop.io.read import read_header
from cytoloop.io.writers.tiff import write_image

NAME = "labels"
_LABELS, _IMAGES = "labels", "images"


def write_pictures(folder: Path, pictures: Iterable[Picture], title: str = "object") -> None:
    """Write ``labels/NAME.ome.tif`` and ``images/NAME.ome.tif`` for each picture.

    Parameters
    ----------
    folder : Path
        Exists and is empty.
    pictures : iterable of Picture
        Taken one at a time. An empty file ``labels/NAME.done`` says that one is done.
    title : str
        Not written: label images name no class.
    """
    for name in (_LABELS, _IMAGES):
        (folder / name).mkdir()
    for picture in pictures:
        dtype = np.uint16 if picture.labels.max(initial=0) < 1 << 16 else np.uint32
        file = f"{picture.name}.ome.tif"
        write_image(folder / _LABELS / file, picture.labels.astype(dtype), "YX")
        if picture.image is not None:
            write_image(folder / _IMAGES / file, picture.image, "YX")
        if picture.done:
            (folder / _LABELS / f"{picture.name}.done").touch()


def is_project(path: Path) -> bool:
    """Tell whether a path is a folder with ``labels/``."""
    return (path / _LABELS).is_dir()


def read_pictures(path: Path, title: str | None = None) -> Iterator[Picture]:
    """Read the label images of ``labels/``: OME-TIFF, plain TIFF, OME-Zarr and others.

    Parameters
    ----------
    path : Path
        The folder. A picture of the same name in ``images/`` is compared in size.
    title : str, optional
        Not asked for: label images name no class.

    Returns
    -------
    iterator of Picture
        Decoded one at a time.

    Raises
    ------
    ManifestError
        All faults of the folder.
    """
    try:
        files = list_images(path / _LABELS)
        images = list_images(path / _IMAGES) if _holds_files(path / _IMAGES) else []
    except ImageError as error:
        raise ManifestError(error.where, error.problems, error.repair) from error
    beside = {stem(image): image for image in images}
    named = ((f"{_LABELS}/{file.name}", stem(file)) for file in files)
    return read_all(path, files, lambda file: _read(file, beside), second_names(named))


def _holds_files(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _read(file: Path, images: dict[str, Path]) -> Picture:
    where, name = f"{_LABELS}/{file.name}", stem(file)
    try:
        *stack, height, width = read_header(file).shape
        if stack != [1, 1, 1]:
            raise ValueError(f"has (T, C, Z) {tuple(stack)}, expected one flat label image")
        shape = check_shape((height, width))
        image = images.get(name)
        if image is not None and image_shape(image) != shape:
            raise ValueError(f"shape {shape} but its picture is {image_shape(image)}")
        labels = read_labels(file)
        if int(labels.max(initial=0)) > LARGEST_NUMBER:
            raise ValueError(f"holds label {labels.max()}, expected up to {LARGEST_NUMBER}")
    except ImageError as error:
        raise ImageError(where, error.problems) from error
    except ValueError as error:
        raise ImageError(where, str(error)) from error
    done = (file.parent / f"{name}.done").is_file()
    return Picture(name, labels.astype(np.uint32), None, done)
