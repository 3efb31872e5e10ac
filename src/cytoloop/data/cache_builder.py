"""An entry of the image store, made from a row of a manifest."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from cytoloop.data.cached_image import FACTS, measure_entry, write_entry
from cytoloop.data.patch_centres import object_points, valid_places
from cytoloop.errors import CytoloopError, ImageError, OutputError
from cytoloop.io.digest import file_hash
from cytoloop.io.read import read_header, read_image
from cytoloop.manifest import CHOICE_COLUMNS, FILE_COLUMNS, Row
from cytoloop.truth.targets import read_target, row_file

BUILDING = ".building-"
"""How the names of folders begin in which entries are made, or taken apart."""
GIB = 2**30
_FORMAT = 2


def read_row(
    row: Row, classes: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[float, float, float] | None]:
    """Read what a manifest row names.

    Parameters
    ----------
    row : Row
    classes : bool
        See `read_target`.

    Returns
    -------
    image : ndarray
        (C, [Z,] Y, X), own dtype.
    labels : ndarray of unsigned integers
        ([Z,] Y, X): the base segmentation, overwritten by the other one in the merging mask.
    valid : ndarray of bool
        ([Z,] Y, X): False in the excluding mask.
    spacing_um : tuple of float or None

    Raises
    ------
    ImageError
        Unreadable, or of another shape than the raw image.
    ManifestError
        A merging mask without a second segmentation, or an unknown base image.
    """
    raw = read_image(row_file(row, "raw"), row["channel"] or None, row["scene"] or None, row.time)
    labels, valid = read_target(row, classes)
    if labels.shape != raw.data.shape[1:]:
        raise ImageError(
            row.where(row["base_image"] or "seg1"),
            f"shape {labels.shape} but raw is {raw.data.shape[1:]}",
            "Raw and segmentation must be the same picture.",
        )
    return raw.data, labels, valid, row.spacing_um or raw.spacing_um


def row_key(row: Row, classes: bool = False) -> str:
    """Return the name of a row's entry: a digest of all that its pixels depend on.

    Raises
    ------
    ImageError
        A file that is not there.
    """
    facts = {column: row[column] for column in CHOICE_COLUMNS}
    facts["format"] = str(_FORMAT)
    if classes:
        facts["classes"] = "true"
    for column in FILE_COLUMNS:
        path = row.file(column)
        if path is not None:
            if not path.exists():
                raise ImageError(row.where(column), f"file not found: {path}", "Curate again.")
            facts[f"{column}_sha256"] = file_hash(path)
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def build_or_error(job: tuple[Path, Row], store: Path, classes: bool) -> int | CytoloopError:
    """Return the bytes that were written, or why not: an error must not stop other images.

    Parameters as those of `build`.
    """
    try:
        return build(job, store, classes)
    except CytoloopError as error:
        return error


def build(job: tuple[Path, Row], store: Path, classes: bool) -> int:
    """Write an entry under a temporary name and rename it: readers see it whole or not.

    Parameters
    ----------
    job : (Path, Row)
        The entry's folder and what it is made of.
    store : Path
        Where temporary folders are.
    classes : bool
        See `read_target`.

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
    image, labels, valid, spacing = read_row(row, classes)
    points, starts = object_points(labels, valid, classes)
    places = valid_places(valid)
    arrays = {
        "image": image,
        "labels": labels.astype(np.min_scalar_type(int(labels.max(initial=0)))),
        "valid": None if places is None else valid,
        "points": points,
        "starts": starts,
        "places": places,
    }
    facts = {"id": row.id, "raw": str(row.file("raw")), "spacing_um": spacing, "classes": classes}
    store.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=store, prefix=BUILDING))
    try:
        write_entry(temporary, facts, arrays)
        size = measure_entry(temporary)
        try:
            os.rename(temporary, folder)  # noqa: PTH104 (must fail where the folder exists)
        except OSError:
            if not (folder / FACTS).is_file():  # else another run was faster
                raise
        return size
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OutputError(
            str(store),
            f"the disk is full ({size_text(shutil.disk_usage(store).free)} free, "
            f"{row.id} needs {size_text(sum(a.nbytes for a in arrays.values() if a is not None))})",
            "Free disk space, or name another folder with paths.cache_dir=FOLDER.",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def estimate(row: Row) -> float:
    """Return about how many bytes an entry will take, from the header alone."""
    header = read_header(row_file(row, "raw"), row["scene"] or None)
    voxels = float(np.prod(header.shape[2:]))
    channels = 1 if row["channel"] else header.shape[1]
    # labels of two bytes; a byte more where voxels are excluded
    excluded = 1 if row["exclude_mask"] else 0
    return voxels * (channels * np.dtype(header.dtype).itemsize + 2 + excluded)


def size_text(count: float) -> str:
    """Return a number of bytes as people read it."""
    return f"{count / GIB:.1f} GiB" if count >= 0.1 * GIB else f"{count / 1e6:.0f} MB"
