"""Collecting an annotated project: label images for curation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cytoloop.curation.crops.crops_table import TABLE, CutImage, read_crops_table
from cytoloop.curation.crops.output import replace_output
from cytoloop.curation.crops.stitch import stitch_image
from cytoloop.curation.exchange.annotation.picture import Picture
from cytoloop.curation.exchange.registry import AnnotationFormat
from cytoloop.errors import ImageError, ManifestError
from cytoloop.home import expand_home
from cytoloop.io.digest import file_hash
from cytoloop.io.names import safe_name
from cytoloop.io.writers.tiff import write_image

UNSEEN = "unseen"
"""Folder of the unseen masks in the output folder."""


@dataclass(frozen=True)
class CollectSettings:
    """How to collect a project.

    Attributes
    ----------
    exclude_unfinished : bool
        Leave out objects of unfinished pictures.
    unseen_masks : bool
        Also write masks of the voxels that nobody has finished, for `cytoloop curate exclude=`.
    all_finished : bool
        Treat every picture as finished.
    title : str or None
        Class of the objects to read; None: the only class.
    overwrite : bool
        Replace an earlier output, see `replace_output`.
    """

    exclude_unfinished: bool = False
    unseen_masks: bool = False
    all_finished: bool = False
    title: str | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class CollectResult:
    """Numbers of written label images, of pictures, and of finished pictures."""

    images: int
    pictures: int
    done: int


def collect_crops(
    folder: str | Path,
    project: Path,
    output: str | Path,
    form: AnnotationFormat,
    settings: CollectSettings | None = None,
) -> CollectResult:
    """Write one label image for each image that was cut.

    Parameters
    ----------
    folder : str or Path
        Holds ``crops.csv``.
    project : Path
        The annotated project.
    output : str or Path
        A new or empty folder.
    form : AnnotationFormat
        Format of the project.
    settings : CollectSettings, optional

    Raises
    ------
    ManifestError
        A faulty ``crops.csv`` or project, or raw images that are missing or changed since the cut.
    ImageError
        Pictures that are missing, unknown, or of another size.
    OutputError
        The folder cannot be written.
    """
    settings = settings or CollectSettings()
    table = expand_home(folder) / TABLE
    images = read_crops_table(table)
    _check_images(table, images)
    expected = {plane.picture: image for image in images for plane in image.planes}
    sizes = {plane.picture: plane.box.shape for image in images for plane in image.planes}
    collected: dict[str, dict[str, Picture]] = {image.id: {} for image in images}
    problems = []
    count = done = 0
    with replace_output(output, settings.overwrite) as staging:
        for picture in form.read(project, title=settings.title):
            image = expected.pop(picture.name, None)
            if image is None:
                fault = "is there twice" if picture.name in sizes else f"is not in {TABLE}"
                problems.append(f"picture {picture.name!r} {fault}")
                continue
            if picture.labels.shape != sizes[picture.name]:
                problems.append(
                    f"picture {picture.name!r} is {picture.labels.shape}, "
                    f"but was cut as {sizes[picture.name]}"
                )
                continue
            collected[image.id][picture.name] = picture
            if len(collected[image.id]) == len(image.planes) and not problems:
                found = collected.pop(image.id)  # frees the memory of complete images
                _write_labels(staging, image, found, settings)
                count += len(found)
                done += sum(
                    settings.all_finished or plane.done or found[plane.picture].done
                    for plane in image.planes
                )
        problems += [f"picture {name!r} is missing" for name in sorted(expected)]
        if problems:
            raise ImageError(
                str(project), problems, "Export the whole project again, without added pictures."
            )
    return CollectResult(len(images), count, done)


def collect_pictures(
    project: Path,
    output: str | Path,
    form: AnnotationFormat,
    settings: CollectSettings | None = None,
) -> CollectResult:
    """Write one label image for each picture of a project that was not cut by CytoLoop.

    Parameters
    ----------
    project : Path
    output : str or Path
        A new or empty folder.
    form : AnnotationFormat
        Format of the project.
    settings : CollectSettings, optional
        Only `title` and `overwrite` are used.

    Raises
    ------
    ManifestError
        A faulty project.
    ImageError
        No picture, or pictures that would get the same file name.
    OutputError
        The folder cannot be written.
    """
    settings = settings or CollectSettings()
    names: dict[str, str] = {}
    problems, done = [], 0
    with replace_output(output, settings.overwrite) as staging:
        for picture in form.read(project, title=settings.title):
            name = safe_name(picture.name)
            if name.casefold() in names:
                problems.append(
                    f"{picture.name!r} and {names[name.casefold()]!r} get the same file name"
                )
                continue
            names[name.casefold()] = picture.name
            done += picture.done
            labels = picture.labels
            dtype = np.min_scalar_type(int(labels.max(initial=0)))
            write_image(staging / f"{name}.ome.tif", labels.astype(dtype), "YX")
        if not names:
            problems.append("holds no picture")
        if problems:
            raise ImageError(str(project), problems, "Rename the pictures, or export them again.")
    return CollectResult(len(names), len(names), done)


def _write_labels(
    folder: Path, image: CutImage, pictures: dict[str, Picture], settings: CollectSettings
) -> None:
    labels, unseen = stitch_image(
        image, pictures, settings.exclude_unfinished, settings.all_finished
    )
    name, axes = f"{safe_name(image.id)}.ome.tif", "ZYX"[-labels.ndim :]
    write_image(folder / name, labels, axes, image.spacing_um)
    if settings.unseen_masks:
        write_image(folder / UNSEEN / name, unseen, axes, image.spacing_um)


def _check_images(table: Path, images: Iterable[CutImage]) -> None:
    """Refuse images that are missing, changed, or would get the same file name."""
    problems, names = [], set()
    for image in images:
        name = safe_name(image.id).casefold()
        if name in names:
            problems.append(f"{image.id}: another image gets the same file name")
        names.add(name)
        if not image.raw.exists():
            problems.append(f"{image.id}: {image.raw} is missing")
        elif file_hash(image.raw) != image.sha256:
            problems.append(f"{image.id}: {image.raw} has changed since it was cut")
    if problems:
        raise ManifestError(
            str(table), problems, "Restore the images, or cut the changed ones again."
        )
