"""A project as it came back: label images to curate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cytoloop.curation.crops.crops_table import TABLE, CutImage, read_record
from cytoloop.curation.crops.folder import new_folder
from cytoloop.curation.crops.stitch import paste_image
from cytoloop.curation.exchange.annotation.picture import Picture
from cytoloop.curation.exchange.registry import Format
from cytoloop.errors import ImageError, ManifestError
from cytoloop.io.digest import file_hash
from cytoloop.io.names import safe_name
from cytoloop.io.writers.tiff import write_image

UNSEEN = "unseen"


@dataclass(frozen=True)
class Collected:
    """What was written: label images, and of how many pictures people have finished how many."""

    images: int
    pictures: int
    done: int


def collect_crops(
    folder: str | Path,
    project: Path,
    output: str | Path,
    form: Format,
    leave_out: bool = False,
    unseen: bool = False,
    all_done: bool = False,
    title: str | None = None,
) -> Collected:
    """Write one label image for each image that was cut, and perhaps where nobody looked.

    Parameters
    ----------
    folder : str or Path
        Holds ``crops.csv``.
    project : str or Path
        The project, as it came back.
    output : str or Path
        A new or empty folder.
    form : Format
        Of the project.
    leave_out, all_done
        As in `paste_image`.
    unseen : bool
        Write masks of what nobody has looked at, for `cytoloop curate exclude=`.
    title : str, optional
        Class of the objects to read; default the only one.

    Raises
    ------
    ManifestError
        A faulty ``crops.csv``, or raw images that are gone or changed since the cut.
    ImageError
        Pictures that are missing, unknown, or of another size.
    OutputError
        The folder cannot be written.
    """
    table = Path(folder).expanduser() / TABLE
    images = read_record(table)
    _check_images(table, images)
    waiting = {shot.picture: image for image in images for shot in image.shots}
    sizes = {shot.picture: shot.box.shape for image in images for shot in image.shots}
    held: dict[str, dict[str, Picture]] = {image.id: {} for image in images}
    problems = []
    count = done = 0
    with new_folder(output) as stage:
        for picture in form.read_pictures(project, title):
            image = waiting.pop(picture.name, None)
            if image is None:
                again = "is there twice" if picture.name in sizes else f"is not in {TABLE}"
                problems.append(f"picture {picture.name!r} {again}")
                continue
            if picture.labels.shape != sizes[picture.name]:
                problems.append(
                    f"picture {picture.name!r} is {picture.labels.shape}, "
                    f"but was cut as {sizes[picture.name]}"
                )
                continue
            held[image.id][picture.name] = picture
            if len(held[image.id]) == len(image.shots) and not problems:
                found = held.pop(image.id)  # an image at a time: a project is larger than memory
                _write(stage, image, found, leave_out, unseen, all_done)
                done += sum(all_done or s.done or found[s.picture].done for s in image.shots)
                count += len(found)
        problems += [f"picture {name!r} is missing" for name in sorted(waiting)]
        if problems:
            raise ImageError(
                str(project), problems, "Export the whole project again, without new pictures."
            )
    return Collected(len(images), count, done)


def collect_pictures(
    project: Path, output: str | Path, form: Format, title: str | None = None
) -> Collected:
    """Write one label image for each picture of a project that was made elsewhere.

    Raises
    ------
    ImageError
        No picture, or pictures whose names make the same file name.
    OutputError
        The folder cannot be written.
    """
    names: dict[str, str] = {}
    problems, done = [], 0
    with new_folder(output) as stage:
        for picture in form.read_pictures(project, title):
            name = safe_name(picture.name)
            if name.casefold() in names:
                problems.append(
                    f"{picture.name!r} and {names[name.casefold()]!r} make the same file name"
                )
                continue
            names[name.casefold()] = picture.name
            done += picture.done
            labels = picture.labels
            smallest = np.min_scalar_type(int(labels.max(initial=0)))
            write_image(stage / f"{name}.ome.tif", labels.astype(smallest), "YX")
        if not names:
            problems.append("holds no picture")
        if problems:
            raise ImageError(str(project), problems, "Rename the pictures, or export them again.")
    return Collected(len(names), len(names), done)


def _write(
    stage: Path,
    image: CutImage,
    pictures: dict[str, Picture],
    leave_out: bool,
    unseen: bool,
    all_done: bool,
) -> None:
    labels, nowhere = paste_image(image, pictures, leave_out, all_done)
    name, axes = f"{safe_name(image.id)}.ome.tif", "ZYX"[-labels.ndim :]
    write_image(stage / name, labels, axes, image.spacing_um)
    if unseen:
        write_image(stage / UNSEEN / name, nowhere, axes, image.spacing_um)


def _check_images(table: Path, images: Iterable[CutImage]) -> None:
    """Refuse images that are gone or changed, or that would be written to the same file."""
    problems, names = [], set()
    for image in images:
        name = safe_name(image.id).casefold()
        if name in names:
            problems.append(f"{image.id}: another image has the same name in files")
        names.add(name)
        if not image.raw.exists():
            problems.append(f"{image.id}: {image.raw} is gone")
        elif file_hash(image.raw) != image.sha256:
            problems.append(f"{image.id}: {image.raw} has changed since it was cut")
    if problems:
        raise ManifestError(
            str(table), problems, "Labels drawn on another image are of no use: cut it again."
        )
