"""Rows whose images are too large for the memory: the same layers, read box by box."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from cytoloop.curation.decisions.latest import Decision
from cytoloop.curation.region_masks import Masks, Regions, draw_masks
from cytoloop.curation.row_cells import regions_of_row, replace_segmentation
from cytoloop.errors import ImageError
from cytoloop.io.labels import as_labels
from cytoloop.io.pixels import Pixels, open_pixels
from cytoloop.io.read import read_header
from cytoloop.io.voxel_size import Spacing
from cytoloop.manifest import Row, part_of, stated_axes
from cytoloop.truth.targets import row_file
from cytoloop.viewer.session.lazy import Box, LazyImage, ReadBox, is_too_large, lazy_zeros

_OTHER = np.uint32(1 << 30)
"""Added to the labels of the other segmentation, so that a preview does not mix objects."""


def is_large(row: Row, column: str = "raw") -> bool:
    """Return whether an image of a row is too large for the memory.

    Raises
    ------
    ImageError
        The file cannot be read.
    """
    path = row_file(row, column)
    part = part_of(row, column, path)
    header = read_header(path, part.scene, part.axes, part.plane)
    nbytes = math.prod(header.shape[1:]) * np.dtype(header.dtype).itemsize
    return is_too_large(header.shape, nbytes)


def open_raw(row: Row) -> Pixels:
    """Return the raw image of a row, to be read box by box.

    Raises
    ------
    ImageError
        The file cannot be read.
    """
    channel, scene = row["channel"] or None, row["scene"] or None
    path = row_file(row, "raw")
    return open_pixels(path, channel, scene, row.time, axes=stated_axes(row), plane=row.plane)


def open_labels(row: Row, column: str) -> LazyImage:
    """Return the labels ([Z,] Y, X) in a column of a row; ignore values are 0.

    Raises
    ------
    ImageError
        The file cannot be read, has several channels, or is of another kind.
    """
    path, pixels = _open(row, column)
    ignore = row.ignore_labels if column.startswith("seg") else ()
    kind = pixels.dtype.kind
    dtype = pixels.dtype if kind == "u" else np.dtype(np.uint8 if kind == "b" else np.uint32)

    def read(box: Box) -> np.ndarray:
        return as_labels(path, pixels.read(box)[0], ignore).astype(dtype, copy=False)

    labels = LazyImage(pixels.shape, dtype, read)
    labels.middle_plane()  # fractions and negative values are reported before napari reads them
    return labels


def unlabelled(row: Row, column: str) -> ReadBox | None:
    """Return what reads the voxels that nobody labelled; None if the row has no ignore value."""
    ignore = row.ignore_labels
    if not ignore:
        return None
    _, pixels = _open(row, column)
    return lambda box: np.isin(pixels.read(box)[0], ignore)


def _open(row: Row, column: str) -> tuple[Path, Pixels]:
    path = row_file(row, column)
    part = part_of(row, column, path)
    channel = row[f"channel_{column}"] or None
    pixels = open_pixels(path, channel, part.scene, part.time, axes=part.axes, plane=part.plane)
    if len(pixels.channels) > 1:
        raise ImageError(
            row.where(column),
            f"has {len(pixels.channels)} channels: {', '.join(pixels.channels)}",
            f"Name the one with labels in the column channel_{column}.",
        )
    return path, pixels


class LargeTarget:
    """Target and excluded voxels of a row, computed for the boxes that are looked at.

    Rules are not applied, for they need the whole image. Objects at the border of a merging
    region are clipped, whatever the merge rule.

    Parameters
    ----------
    row : Row
    decision : Decision
    shape : tuple of int
        ([Z,] Y, X) of the raw image.
    spacing_um : tuple of float or None

    Raises
    ------
    ImageError, ConfigError
        A segmentation or a region cannot be read.
    """

    def __init__(
        self, row: Row, decision: Decision, shape: tuple[int, ...], spacing_um: Spacing | None
    ) -> None:
        row = replace(row, values=dict(row.values))
        stated = regions_of_row(row)
        regions = Regions(
            (*stated.exclude, *decision.exclude), (*stated.merge, *decision.merge)
        ).effective()
        self.base = decision.base_image or row["base_image"] or "seg1"
        if decision.labels:
            replace_segmentation(row, decision.labels)
            self.base, regions = "seg1", Regions(regions.exclude)
        if not row[self.base]:
            raise ImageError(
                f"{row.id}, {self.base}", "there is no such segmentation", "Choose the other."
            )
        self.row, self.shape = row, shape
        self._labels = open_labels(row, self.base)
        other = "seg2" if self.base == "seg1" else "seg1"
        self._other = open_labels(row, other) if row[other] and regions.merge else None
        self._unlabelled = unlabelled(row, self.base)
        self._masks: Masks = draw_masks(regions, None, None, shape, spacing_um)

    @property
    def target(self) -> LazyImage:
        """Labels ([Z,] Y, X), uint32."""
        return LazyImage(self.shape, np.uint32, self._target)

    @property
    def excluded(self) -> LazyImage:
        """Voxels ([Z,] Y, X), bool."""
        mask, read = self._masks.exclude, self._unlabelled
        if mask is None:
            return lazy_zeros(self.shape, bool) if read is None else self._lazy(read)
        return self._lazy(lambda box: mask[box] if read is None else mask[box] | read(box))

    @property
    def merged(self) -> LazyImage:
        """Voxels ([Z,] Y, X), bool."""
        mask = self._masks.merge
        if mask is None or self._other is None:
            return lazy_zeros(self.shape, bool)
        return self._lazy(lambda box: mask[box])

    def _lazy(self, read: ReadBox) -> LazyImage:
        return LazyImage(self.shape, bool, read)

    def _target(self, box: Box) -> np.ndarray:
        labels = np.asarray(self._labels[box], np.uint32)
        mask = self._masks.merge
        if self._other is None or mask is None:
            return labels
        other = np.asarray(self._other[box], np.uint32)
        return np.where(mask[box], np.where(other > 0, other + _OTHER, 0), labels).astype(np.uint32)
