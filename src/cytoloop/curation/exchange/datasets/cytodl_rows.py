"""Which rows CytoDL can train on, and which of their files must be converted for it.

CytoDL's config `im2im/segmentation_plugin` reads the same channel of each file for all rows. It
takes regions as outlines that apply to all planes, and none for 2D images.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from cytoloop.curation.splits.names import SPLIT_NAMES
from cytoloop.errors import ConfigError, CytoloopError, ManifestError
from cytoloop.io.multi_file import is_multi_file
from cytoloop.io.names import stem
from cytoloop.io.read import Header, read_header
from cytoloop.io.voxel_size import Spacing
from cytoloop.manifest import Row, stated_axes
from cytoloop.truth.targets import read_row_region, read_target, row_file
from cytoloop.urls import is_remote

MIN_SIDE = 4
"""Voxels that CytoDL's network needs along each axis, because it halves the image twice."""


@dataclass
class ExportRow:
    """A row, and how it is expressed in CytoDL's columns.

    Attributes
    ----------
    row : Row
    name : str
        Unique name for files that are written for the row.
    split : str
        ``train``, ``valid`` or ``test``.
    shape : tuple of int
        ([Z,] Y, X).
    spacing_um : tuple of float or None
        Voxel size (Z, Y, X).
    channels : dict of str to (int or None)
        Image column to the channel to read in its file. None if the image must be copied to a
        TIFF, because CytoDL would not find it: another format, several scenes or time points, a
        plane.
    merge : str
        How the merge mask is expressed: ``none``; ``outline``, which CytoDL merges by; or
        ``written``, as a file of merged labels.
    excludes : bool
        The exclude mask excludes at least one voxel.
    problems : list of str
        Why CytoDL cannot use the row.
    """

    row: Row
    name: str
    split: str = ""
    shape: tuple[int, ...] = ()
    spacing_um: Spacing | None = None
    channels: dict[str, int | None] = field(default_factory=dict)
    merge: str = "none"
    excludes: bool = False
    problems: list[str] = field(default_factory=list)


def prepare_rows(rows: Sequence[Row], on_problem: str) -> tuple[list[ExportRow], dict[str, str]]:
    """Return the rows that CytoDL can use, and the reason for each other row.

    Parameters
    ----------
    rows : sequence of Row
        Rejected ones are ignored.
    on_problem : str
        ``refuse`` raises if there are rows that CytoDL cannot use, ``reject`` leaves them out.

    Returns
    -------
    usable : list of ExportRow
    left_out : dict of str to str
        Row id to reason.

    Raises
    ------
    ConfigError
        Unknown `on_problem`.
    ManifestError
        All rows that CytoDL cannot use, if `on_problem` is ``refuse``. Or 2D and 3D images
        together, or no row for training or validation.
    """
    if on_problem not in ("refuse", "reject"):
        raise ConfigError("on_problem", f"{on_problem!r}", "Expected refuse or reject.")
    kept = [row for row in rows if row["status"] != "reject"]
    prepared = [_prepare(row, name) for row, name in zip(kept, _file_names(kept), strict=True)]
    bad = [item for item in prepared if item.problems]
    if bad and on_problem == "refuse":
        raise ManifestError(
            "export",
            [problem for item in bad for problem in item.problems],
            "Correct or reject these rows, or leave them out with on_problem=reject.",
        )
    usable = [item for item in prepared if not item.problems]
    _check_together(usable)
    return usable, {item.row.id: "; ".join(item.problems) for item in bad}


def _prepare(row: Row, name: str) -> ExportRow:
    """Return a row for the export; faults of the row are collected in its problems."""
    item = ExportRow(row, name, SPLIT_NAMES.get(row["split"], ""))
    if not item.split:
        where = row.where("split")
        item.problems.append(f"{where}: {row['split']!r}; expected train, valid or test")
    base = row["base_image"] or "seg1"
    if base not in ("seg1", "seg2"):
        item.problems.append(f"{row.where('base_image')}: {base!r}; expected seg1 or seg2")
    elif not row["seg2"] and (base == "seg2" or row["merge_mask"]):
        item.problems.append(f"{row.where('seg2')}: is empty, but merging needs it")
    for column in ("raw", "seg1", "seg2"):
        if row[column] or column != "seg2":
            with _collect_errors(item, column):
                _prepare_image(item, column)
    if not item.problems:
        with _collect_errors(item, "merge_mask"):
            _prepare_merging(item)
        with _collect_errors(item, "exclude_mask"):
            _prepare_excluding(item)
    return item


def _prepare_image(item: ExportRow, column: str) -> None:
    row, path = item.row, row_file(item.row, column)
    cell = "channel" if column == "raw" else f"channel_{column}"
    axes = stated_axes(row, column)
    header = read_header(path, axes=axes)
    plane = row.plane if header.shape[2] > 1 else None
    several = len(header.scenes) > 1 or header.shape[0] > 1 or plane is not None
    if several:
        header = read_header(path, row["scene"] or None, axes, plane)
    if not row[cell] and header.shape[1] > 1:
        item.problems.append(
            f"{row.where(column)}: has channels {', '.join(header.channels)}, but CytoDL's "
            f"config reads one; name it in the column {cell}"
        )
        return
    number = _find_channel(header, row[cell])
    if number is None:
        known = ", ".join(f"{i}: {name}" for i, name in enumerate(header.channels))
        item.problems.append(f"{row.where(cell)}: no channel {row[cell]!r} (expected {known})")
        return
    readable = path.name.lower().endswith((".tif", ".tiff")) and not several and not axes
    readable = readable and not is_multi_file(path)
    readable = readable and not is_remote(row[column])  # the local copy is temporary
    readable = readable and not _is_rgb(header)  # CytoDL reads only the first sample of RGB
    item.channels[column] = number if readable else None
    if column == "raw":
        item.shape = header.spatial
        item.spacing_um = row.spacing_um or header.spacing_um
        if min(item.shape) < MIN_SIDE:
            item.problems.append(
                f"{row.where(column)}: shape {item.shape}, but CytoDL's network needs {MIN_SIDE} "
                "voxels along each axis"
            )
    elif item.shape and header.spatial != item.shape:
        item.problems.append(f"{row.where(column)}: shape {header.spatial} but raw is {item.shape}")


def _prepare_merging(item: ExportRow) -> None:
    row = item.row
    if not row["merge_mask"]:
        return
    region = read_row_region(row, "merge_mask", item.shape)
    if region.any():
        clips = (row["merge_rule"] or "clip") == "clip"
        outline = clips and region.ndim == 3 and _is_same_in_all_planes(region)
        item.merge = "outline" if outline else "written"
    if item.merge == "written":
        read_target(row)  # raises for faulty rows now, before anything is written


def _prepare_excluding(item: ExportRow) -> None:
    row = item.row
    if not row["exclude_mask"]:
        return
    region = read_row_region(row, "exclude_mask", item.shape)
    item.excludes = bool(region.any())  # CytoDL fails on an empty list of outlines
    where = row.where("exclude_mask")
    if item.excludes and region.ndim == 2:
        item.problems.append(f"{where}: excludes part of a 2D image, which CytoDL cannot read")
    elif item.excludes and not _is_same_in_all_planes(region):
        item.problems.append(
            f"{where}: differs between planes, but CytoDL applies one outline to all planes"
        )


def _check_together(items: Sequence[ExportRow]) -> None:
    problems = []
    flat = [item.row.id for item in items if len(item.shape) == 2]
    if flat and len(flat) < len(items):
        deep = [item.row.id for item in items if len(item.shape) == 3]
        problems.append(
            f"2D images ({', '.join(flat)}) and 3D images ({', '.join(deep)}): CytoDL trains on "
            "either 2D or 3D images"
        )
    problems += [
        f"no row of split {split} to export"
        for split in ("train", "valid")
        if all(item.split != split for item in items)
    ]
    if problems:
        raise ManifestError("export", problems, "Choose other rows, or curate more images.")


@contextmanager
def _collect_errors(item: ExportRow, column: str) -> Iterator[None]:
    """Add errors that are raised in the block to the problems of a row."""
    try:
        yield
    except CytoloopError as error:
        named = error.where.startswith("row ")  # the error names row and column already
        where = error.where if named else f"{item.row.where(column)}: {error.where}"
        item.problems.append(f"{where}: {'; '.join(error.problems)}")


def _find_channel(header: Header, text: str) -> int | None:
    """Return the number of the channel in a cell, 0 for an empty cell, None if it is unknown."""
    if text in header.channels:
        return header.channels.index(text)
    number = int(text or 0) if not text or re.fullmatch("[0-9]+", text) else -1
    return number if 0 <= number < header.shape[1] else None


def _is_rgb(header: Header) -> bool:
    return header.channels[:1] == ("sample 0",)


def _is_same_in_all_planes(region: np.ndarray) -> bool:
    """Return whether all planes of a region (Z, Y, X) are equal."""
    return bool((region == region[0]).all())


def _file_names(rows: Sequence[Row]) -> list[str]:
    """Return a unique file name for each row: the stem of its raw file, or its id.

    Segmenter ML names its masks by the stem of the raw file.
    """
    stems = [stem(row["raw"]) for row in rows]
    count = Counter(name.casefold() for name in stems)
    taken: set[str] = set()
    names = []
    for row, own in zip(rows, stems, strict=True):
        wanted = row.id if count[own.casefold()] > 1 else own
        wanted = re.sub(r"[^\w.-]+", "_", wanted) or "image"
        name, number = wanted, 1
        while name.casefold() in taken:  # some file systems ignore case
            number += 1
            name = f"{wanted}_{number}"
        taken.add(name.casefold())
        names.append(name)
    return names
