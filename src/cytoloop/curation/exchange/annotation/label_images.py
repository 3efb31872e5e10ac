"""Label images: `labels/NAME.ome.tif`, for napari, Fiji with Labkit, Cellpose and others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from cytoloop.curation.exchange.annotation.picture import Picture
from cytoloop.curation.exchange.annotation.project_files import (
    LARGEST_NUMBER,
    check_shape,
    duplicate_names,
    read_checked,
    read_image_shape,
)
from cytoloop.errors import ImageError, ManifestError
from cytoloop.io.labels import read_labels
from cytoloop.io.listing import list_images
from cytoloop.io.names import stem
from cytoloop.io.read import read_header
from cytoloop.io.writers.tiff import write_image
from cytoloop.truth.plausible_labels import why_not_labels

_LABELS, _IMAGES = "labels", "images"


def write(folder: Path, pictures: Iterable[Picture], title: str = "object") -> None:
    """Write ``labels/NAME.ome.tif`` and ``images/NAME.ome.tif`` for each picture.

    An empty file ``labels/NAME.done`` marks a picture as done.

    Parameters
    ----------
    folder : Path
        An existing empty folder.
    pictures : iterable of Picture
        Consumed one at a time.
    title : str
        Ignored: label images have no class name.
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
    """Return whether a path is a folder with a folder ``labels``."""
    return (path / _LABELS).is_dir()


def read(path: Path, title: str | None = None) -> Iterator[Picture]:
    """Return the label images in ``labels/``, in any readable image format.

    Parameters
    ----------
    path : Path
        The folder. The size of each label image is compared with the image of the same name in
        the folder ``images``, if there is one.
    title : str, optional
        Ignored: label images have no class name.

    Returns
    -------
    iterator of Picture
        Read one at a time.

    Raises
    ------
    ManifestError
        All faults of the folder.
    """
    try:
        files = list_images(path / _LABELS)
        images = list_images(path / _IMAGES) if _has_files(path / _IMAGES) else []
    except ImageError as error:
        raise ManifestError(error.where, error.problems, error.repair) from error
    by_name = {stem(image): image for image in images}
    named = ((f"{_LABELS}/{file.name}", stem(file)) for file in files)
    return read_checked(
        path, files, lambda file: _read_picture(file, by_name), duplicate_names(named)
    )


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _read_picture(file: Path, images: dict[str, Path]) -> Picture:
    where, name = f"{_LABELS}/{file.name}", stem(file)
    try:
        *stack, height, width = read_header(file).shape
        if stack != [1, 1, 1]:
            raise ValueError(f"(T, C, Z) is {tuple(stack)}, expected a 2D label image: (1, 1, 1)")
        shape = check_shape((height, width))
        image = images.get(name)
        if image is not None and (found := read_image_shape(image)) != shape:
            raise ValueError(f"size (Y, X) is {shape}, but its image is {found}")
        labels = read_labels(file)
        if int(labels.max(initial=0)) > LARGEST_NUMBER:
            raise ValueError(f"has label {labels.max()}, expected at most {LARGEST_NUMBER}")
        if reason := why_not_labels(labels):
            raise ValueError(f"{reason}; expected labels (one number an object) or a mask")
    except ImageError as error:
        raise ImageError(where, error.problems) from error
    except ValueError as error:
        raise ImageError(where, str(error)) from error
    done = (file.parent / f"{name}.done").is_file()
    return Picture(name, labels.astype(np.uint32), None, done)
