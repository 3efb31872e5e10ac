"""Building of cached images from manifest rows."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from cytoloop.data.cached_image import METADATA, size_in_bytes, write_cached_image
from cytoloop.data.patch_centres import object_points, valid_points
from cytoloop.data.resample_row import RowArrays, resample_row
from cytoloop.errors import CytoloopError, ImageError, OutputError
from cytoloop.io.digest import file_hash
from cytoloop.io.multi_file import image_exists
from cytoloop.io.read import read_header
from cytoloop.io.voxel_size import Spacing
from cytoloop.manifest import (
    FILE_COLUMNS,
    SELECTION_COLUMNS,
    Row,
    format_spacing,
    stated_axes,
)
from cytoloop.truth.targets import read_raw, read_target, row_file

TEMPORARY_PREFIX = ".building-"
"""Prefix of folders in which cached images are built or removed."""
GIB = 2**30
_FORMAT = 4
"""Increase when the stored arrays change: older cached images are not reused."""


def read_row(
    row: Row, classes: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[float, float, float] | None]:
    """Return the image and the target of a manifest row.

    Parameters
    ----------
    row : Row
    classes : bool
        The labels are classes, see `read_target`.

    Returns
    -------
    image : ndarray
        (C, [Z,] Y, X), in the dtype of the file.
    labels : ndarray of unsigned integers
        ([Z,] Y, X): the base segmentation, replaced by the other one inside the merge mask.
    valid : ndarray of bool
        ([Z,] Y, X): False inside the exclude mask.
    spacing_um : tuple of float or None
        Voxel size (Z, Y, X) in um: that of the row, else that of the file.

    Raises
    ------
    ImageError
        A file cannot be read, or its shape differs from the raw image.
    ManifestError
        A merge mask without a second segmentation, or an unknown base image.
    """
    raw = read_raw(row)
    labels, valid = read_target(row, classes)
    if labels.shape != raw.data.shape[1:]:
        raise ImageError(
            row.where(row["base_image"] or "seg1"),
            f"shape {labels.shape} but raw is {raw.data.shape[1:]}",
            "Give raw image and segmentation of the same image.",
        )
    return raw.data, labels, valid, row.spacing_um or raw.spacing_um


def cache_key(row: Row, classes: bool = False, spacing_um: Spacing | None = None) -> str:
    """Return the folder name of a row's cached image: a hash of all that its voxels depend on.

    Raises
    ------
    ImageError
        A file does not exist.
    """
    content = {column: row[column] for column in SELECTION_COLUMNS if row[column]}
    content["format"] = str(_FORMAT)
    if classes:
        content["classes"] = "true"
    if spacing_um is not None:
        content["resampled_um"] = format_spacing(spacing_um)
    for column in FILE_COLUMNS:
        path = row.file(column)
        if path is not None:
            if not image_exists(path):
                raise ImageError(row.where(column), f"file not found: {path}", "Curate again.")
            content[f"{column}_sha256"] = file_hash(path)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def build_or_error(
    job: tuple[Path, Row], cache: Path, classes: bool, spacing_um: Spacing | None = None
) -> int | CytoloopError:
    """Return the bytes that were written, or the error, so that other images are still built.

    See `build` for the parameters.
    """
    try:
        return build(job, cache, classes, spacing_um)
    except CytoloopError as error:
        return error


def build(
    job: tuple[Path, Row], cache: Path, classes: bool, spacing_um: Spacing | None = None
) -> int:
    """Write a cached image into a temporary folder and rename it, so that readers see all or none.

    Parameters
    ----------
    job : (Path, Row)
        Folder of the cached image, and its manifest row.
    cache : Path
        Folder of the cache, for temporary folders.
    classes : bool
        The labels are classes, see `read_target`.
    spacing_um : tuple of float, optional
        Voxel size (Z, Y, X) that the image is resampled to.

    Returns
    -------
    int
        Bytes that were written.

    Raises
    ------
    ImageError, ManifestError
        See `read_row`.
    OutputError
        The disk is full.
    """
    folder, row = job
    image, labels, valid, spacing = _read_at(row, classes, spacing_um)
    points, starts = object_points(labels, valid, classes)
    random_points = valid_points(valid)
    arrays = {
        "image": image,
        "labels": labels.astype(np.min_scalar_type(int(labels.max(initial=0)))),
        "valid": None if random_points is None else valid,
        "object_points": points,
        "object_starts": starts,
        "valid_points": random_points,
    }
    metadata = {
        "id": row.id, "raw": str(row.file("raw")), "spacing_um": spacing, "classes": classes
    }  # fmt: skip
    cache.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=cache, prefix=TEMPORARY_PREFIX))
    try:
        write_cached_image(temporary, metadata, arrays)
        size = size_in_bytes(temporary)
        try:
            os.rename(temporary, folder)  # noqa: PTH104 (must fail if the folder exists)
        except OSError:
            if not (folder / METADATA).is_file():  # else another run has built it
                raise
        return size
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        needed = sum(array.nbytes for array in arrays.values() if array is not None)
        raise OutputError(
            str(cache),
            f"the disk is full: {format_bytes(shutil.disk_usage(cache).free)} free, "
            f"{row.id} needs {format_bytes(needed)}",
            "Free disk space, or choose another folder with paths.cache_dir=FOLDER.",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _read_at(row: Row, classes: bool, spacing_um: Spacing | None) -> RowArrays:
    """Return the image and the target of a row, at a voxel size if one is given."""
    arrays = read_row(row, classes)
    return arrays if spacing_um is None else resample_row(arrays, spacing_um)


def estimated_bytes(row: Row) -> float:
    """Return about how many bytes a cached image will need, from the header of the file."""
    path = row_file(row, "raw")
    header = read_header(path, row["scene"] or None, stated_axes(row), row.plane)
    voxels = float(np.prod(header.shape[2:]))
    channels = 1 if row["channel"] else header.shape[1]
    labels, valid = 2, 1 if row["exclude_mask"] else 0  # bytes per voxel
    return voxels * (channels * np.dtype(header.dtype).itemsize + labels + valid)


def format_bytes(count: float) -> str:
    """Return a number of bytes as text, in GiB or MB."""
    return f"{count / GIB:.1f} GiB" if count >= 0.1 * GIB else f"{count / 1e6:.0f} MB"
