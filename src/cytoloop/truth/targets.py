"""Reading the target of a manifest row: merged segmentation and valid voxels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cytoloop.errors import ImageError, ManifestError
from cytoloop.io.labels import as_labels, read_labels
from cytoloop.io.read import Image, read_image, read_plane_or_stack
from cytoloop.manifest import Part, Row, part_of, stated_axes
from cytoloop.truth.regions import is_outline, merge_segmentations, read_region


def read_target(row: Row, classes: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of a row and which of its voxels are valid.

    Parameters
    ----------
    row : Row
    classes : bool
        The values are classes: merging keeps them. Object ids are renumbered by merging.

    Returns
    -------
    labels : ndarray of unsigned integers
        ([Z,] Y, X): the base segmentation, replaced by the other one inside the merge mask.
    valid : ndarray of bool
        Same shape; False inside the exclude mask and where the base segmentation has an ignore
        value (column ``ignore_label``). Excluded voxels have no loss and no score.

    Raises
    ------
    ImageError
        A file cannot be read, or its shape differs from the base segmentation.
    ManifestError
        A merge mask without a second segmentation, an unknown base image, or classes with a merge
        rule for objects.
    """
    base = row["base_image"] or "seg1"
    if base not in ("seg1", "seg2"):
        raise ManifestError(row.where("base_image"), f"{base!r}", "Expected seg1 or seg2.")
    labels, valid = read_labelled(row, base)
    if row["merge_mask"]:
        other, other_valid = read_labelled(row, "seg1" if base == "seg2" else "seg2")
        if other.shape != labels.shape:
            raise ImageError(
                row.where("seg2"),
                f"shape {other.shape} but the base segmentation is {labels.shape}",
                "Give two segmentations of the same image.",
            )
        region = read_row_region(row, "merge_mask", labels.shape)
        labels = _merge(row, labels, other, region, classes)
        valid = np.where(region, other_valid, valid)
    if row["exclude_mask"]:
        valid = valid & ~read_row_region(row, "exclude_mask", labels.shape)
    return labels, valid


def _merge(
    row: Row, labels: np.ndarray, other: np.ndarray, region: np.ndarray, classes: bool
) -> np.ndarray:
    """Return the merged segmentation of a row."""
    rule = row["merge_rule"] or "clip"
    if not classes:
        return merge_segmentations(labels, other, region, rule)
    if rule != "clip":
        raise ManifestError(
            row.where("merge_rule"),
            f"{rule!r} merges objects, but these are classes",
            "Merge classes with merge_rule=clip.",
        )
    return np.where(region, other, labels)


def read_segmentation(row: Row, column: str) -> np.ndarray:
    """Return the labels in ``seg1`` or ``seg2`` of a row; ignore values are background.

    See `read_labelled`.
    """
    return read_labelled(row, column)[0]


def read_labelled(row: Row, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels in ``seg1`` or ``seg2`` of a row, and which voxels somebody labelled.

    A file with several scenes or time points is read at the scene and time point that the row
    names for it, or else at those of the raw image.

    Returns
    -------
    labels : ndarray of unsigned integers
        ([Z,] Y, X); ignore values are 0.
    labelled : ndarray of bool
        Same shape; False where the file has an ignore value.

    Raises
    ------
    ManifestError
        An ignore value that is no number.
    ImageError
        The file cannot be read, holds no labels, or has several channels, scenes or time points
        and the row names none.
    """
    path, channel, ignore = (
        row_file(row, column),
        row[f"channel_{column}"] or None,
        row.ignore_labels,
    )
    part = part_of(row, column, path)
    values = read_plane_or_stack(path, channel, part.scene, part.time, part.axes, part.plane)
    labels = as_labels(path, values, ignore)
    return labels, ~np.isin(values, ignore) if ignore else np.ones(labels.shape, bool)


def read_row_region(row: Row, column: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the voxels of the region in ``merge_mask`` or ``exclude_mask`` of a row.

    See `cytoloop.truth.regions.read_region`.
    """
    path = row_file(row, column)
    part = Part(plane=row.plane) if is_outline(path) else part_of(row, column, path)
    return read_region(path, shape, part)


def read_raw(row: Row) -> Image:
    """Return the raw image of a row, in the channels, scene, time, plane and axes that it names."""
    channel, scene = row["channel"] or None, row["scene"] or None
    path = row_file(row, "raw")
    return read_image(path, channel, scene, row.time, stated_axes(row), row.plane)


def read_partner(row: Row, column: str, channel: str | int | None = None) -> np.ndarray:
    """Return labels that belong to a row, such as its prediction, ([Z,] Y, X).

    Parameters
    ----------
    row : Row
    column : str
    channel : str or int, optional
        Default: the only one.
    """
    path = row_file(row, column)
    part = part_of(row, column, path)
    return read_labels(path, channel, part.scene, part.time, part.axes, plane=part.plane)


def row_file(row: Row, column: str) -> Path:
    """Return the path in a cell.

    Raises
    ------
    ManifestError
        The cell is empty.
    """
    path = row.file(column)
    if path is None:
        raise ManifestError(row.where(column), "is empty", "Fill the cell or remove the row.")
    return path
