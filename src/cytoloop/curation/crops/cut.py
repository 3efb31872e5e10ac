"""Cutting the images of a data set into pictures for annotation."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cytoloop.curation.crops.crops_table import (
    TABLE,
    CropPlane,
    CutImage,
    table_rows,
    write_crops_table,
)
from cytoloop.curation.crops.output import replace_output
from cytoloop.curation.crops.tiles import plan_crops
from cytoloop.curation.exchange.annotation.picture import Picture
from cytoloop.curation.exchange.registry import AnnotationFormat
from cytoloop.errors import CytoloopError, ImageError, ManifestError
from cytoloop.home import expand_home
from cytoloop.intensity.normalization import intensity_statistics, normalize
from cytoloop.io.digest import file_hash
from cytoloop.io.names import safe_name
from cytoloop.io.voxel_size import Spacing
from cytoloop.manifest import Row, read_dataset, read_manifest
from cytoloop.manifest.own_folder import PREDICTIONS_TABLE
from cytoloop.truth.targets import read_partner, read_raw, read_target, row_file
from cytoloop.urls import is_remote

PROJECT = "project"
"""Folder of the annotation project in the output folder."""
_CONTRAST = {"method": "percentile", "lower": 0.5, "upper": 99.8}
_LARGEST_LABEL = 4_000_000_000
"""Leaves uint32 numbers for new objects, which are numbered after the largest label."""


@dataclass(frozen=True)
class CutSettings:
    """How to cut images.

    Attributes
    ----------
    objects_per_crop : int
        Mean number of objects per crop.
    min_crop_size : int
        Smallest side of a crop without its margin, in pixels.
    title : str
        Name of the class in the project.
    overwrite : bool
        Replace an earlier output, see `replace_output`.
    """

    objects_per_crop: int = 50
    min_crop_size: int = 128
    title: str = "object"
    overwrite: bool = False


def rows_to_annotate(path: str | Path, split: str | None = None) -> list[Row]:
    """Return the rows of a curated data set, or of predictions.

    Parameters
    ----------
    path : str or Path
        Folder or CSV of `cytoloop curate`, or that of `cytoloop predict` or `classic`.
    split : str, optional
        Return only rows of this split.

    Raises
    ------
    ManifestError
        No such data set, rows without labels, or no row of this split.
    """
    folder = expand_home(path)
    if folder.is_dir() and not (folder / PREDICTIONS_TABLE).is_file():
        parts = read_dataset(path)
        rows = [row for name, part in parts.items() if split in (None, name) for row in part]
    else:
        manifest = read_manifest(path)
        rows = [
            row
            for row in manifest
            if row["status"] not in ("reject", "failed") and split in (None, row["split"])
        ]
        missing = [row.where("seg1") for row in rows if not (row["seg1"] or row["labels"])]
        if missing:
            raise ManifestError(
                str(path),
                [f"{where} is empty, and so is 'labels'" for where in missing],
                "Give the table of a curated data set, or predictions with save=[labels].",
            )
    if not rows:
        of = f" of split {split!r}" if split else ""
        raise ManifestError(
            str(path), f"has no image{of}", "Choose another split: train, valid or test."
        )
    return rows


def cut_images(
    rows: Sequence[Row],
    output: str | Path,
    form: AnnotationFormat,
    settings: CutSettings | None = None,
) -> list[CutImage]:
    """Cut images into crops, and write them as an annotation project with ``crops.csv``.

    Parameters
    ----------
    rows : sequence of Row
    output : str or Path
        A new or empty folder.
    form : AnnotationFormat
    settings : CutSettings, optional

    Raises
    ------
    ManifestError
        All images that cannot be read or do not fit their labels, and all ids that would get the
        same file name.
    OutputError
        The folder cannot be written.
    """
    settings = settings or CutSettings()
    folder = expand_home(output).resolve()
    cut: list[CutImage] = []

    def pictures() -> Iterator[Picture]:
        names = Counter(safe_name(row.id).casefold() for row in rows)
        problems = [
            f"{row.id}: another image gets the same file name"
            for row in rows
            if names[safe_name(row.id).casefold()] > 1
        ]
        for row in rows:
            try:
                found = _read(row)
            except CytoloopError as error:
                problems.append(f"{row.id}: {error}")
                continue
            yield from _cut_image(row, *found, settings, cut)
        if problems:
            raise ManifestError("annotate", problems, "Correct or reject these rows.")

    with replace_output(folder, settings.overwrite, rows) as staging:
        (staging / PROJECT).mkdir()
        form.write(staging / PROJECT, pictures(), title=settings.title)
        raws = {row.id: row.location("raw") for row in rows}
        cells = [
            cell for image in cut for cell in table_rows(image, _relative(raws[image.id], folder))
        ]
        write_crops_table(staging / TABLE, cells)
    return cut


def _relative(raw: str, folder: Path) -> str:
    """Return a path relative to the output folder; URLs are unchanged."""
    return raw if is_remote(raw) else Path(os.path.relpath(raw, folder)).as_posix()


def _cut_image(
    row: Row,
    raw: np.ndarray,
    labels: np.ndarray,
    spacing_um: Spacing | None,
    settings: CutSettings,
    cut: list[CutImage],
) -> Iterator[Picture]:
    """Yield the pictures of an image, then append the image to `cut`."""
    stack = labels.reshape((-1, *labels.shape[-2:]))
    raw_planes = raw.reshape(stack.shape)
    crops = plan_crops(stack, settings.objects_per_crop, settings.min_crop_size)
    planes = []
    for k, crop in enumerate(crops):
        for z in range(len(stack)):
            name = f"{safe_name(row.id)}_{k:03d}" if len(crops) > 1 else safe_name(row.id)
            name += f"_z{z:03d}" if labels.ndim == 3 else ""
            part = stack[z][crop.box.slices]
            seen = frozenset(int(n) for n in np.unique(part) if n)
            planes.append(
                CropPlane(
                    name,
                    z if labels.ndim == 3 else None,
                    crop.core,
                    crop.box,
                    seen,
                    seen & crop.owned,
                    seen & crop.wide,
                )
            )
            yield Picture(name, part, raw_planes[z][crop.box.slices])
    path = row_file(row, "raw")
    cut.append(CutImage(row.id, path, file_hash(path), labels.shape, spacing_um, tuple(planes)))


def _read(row: Row) -> tuple[np.ndarray, np.ndarray, Spacing | None]:
    """Return the first channel as uint8, the labels as uint32, and the voxel size.

    Both arrays are ([Z,] Y, X).
    """
    image = read_raw(row)
    labels = read_partner(row, "labels") if row["labels"] else read_target(row)[0]
    if labels.shape != image.data.shape[1:]:
        raise ImageError(
            row.where("labels" if row["labels"] else "seg1"),
            f"shape {labels.shape} but the image is {image.data.shape[1:]}",
            "Give the labels of this image.",
        )
    if labels.size and int(labels.max()) > _LARGEST_LABEL:
        raise ImageError(
            row.where("seg1"), f"holds labels above {_LARGEST_LABEL}", "Renumber the labels."
        )
    data = image.data[:1]
    scaled = normalize(data, *intensity_statistics(data, _CONTRAST))[0]
    raw = np.round(np.clip(scaled, 0, 1) * 255).astype(np.uint8)
    return raw, labels.astype(np.uint32), row.spacing_um or image.spacing_um
