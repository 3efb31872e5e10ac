"""One row of a manifest, and the rows of one file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cytoloop.errors import ManifestError
from cytoloop.io.names import stem
from cytoloop.io.remote import fetch
from cytoloop.manifest.paths import absolute_location, absolute_path
from cytoloop.urls import is_remote

ALL_PLANES, ANNOTATED_PLANES = PLANE_WORDS = ("all", "annotated")
"""Words in the column ``plane`` of a stack whose planes are pictures: each, or those with labels.
"""


@dataclass
class Row:
    """One image with its segmentations and the decisions about it.

    Attributes
    ----------
    values : dict of str to str
        Cell text by column name; a missing column reads as "".
    root : Path
        Folder that relative paths start at.
    number : int
        Row number in the file, from 1; the header is not counted.
    """

    values: dict[str, str]
    root: Path = field(default_factory=Path)
    number: int = 0

    def __getstate__(self) -> dict[str, object]:
        """Return what another process gets: its working folder may be another one."""
        return self.__dict__ | {"root": self.root.absolute()}

    def __getitem__(self, column: str) -> str:
        return self.values.get(column, "")

    @property
    def id(self) -> str:
        """Name of the row, unique in its manifest; default the raw file's name."""
        return self["id"] or stem(self["raw"])

    def file(self, column: str) -> Path | None:
        """Return the local path in a file column, None for an empty cell.

        A URL is fetched at the first call; its local copy is returned.

        Raises
        ------
        ImageError
            The URL cannot be fetched.
        """
        text = self[column]
        if is_remote(text):
            return fetch(text)
        return absolute_path(text, self.root) if text else None

    def location(self, column: str) -> str:
        """Return the absolute path or the URL in a file column, "" for an empty cell.

        Nothing is fetched.
        """
        text = self[column]
        return absolute_location(text, self.root) if text else ""

    @property
    def spacing_um(self) -> tuple[float, float, float] | None:
        """Voxel size (Z, Y, X) in um from the manifest, None for an empty cell."""
        text = self["spacing_um"].replace(",", " ").replace(";", " ")
        if not text.strip():
            return None
        try:
            numbers = [float(part) for part in text.split()]
        except ValueError:
            numbers = []
        if len(numbers) == 2:
            numbers = [1.0, *numbers]
        if len(numbers) != 3 or not all(0 < n < float("inf") for n in numbers):
            raise ManifestError(
                self.where("spacing_um"),
                f"{self['spacing_um']!r} is not a voxel size",
                "Expected three positive numbers in um, `z y x`.",
            )
        return (numbers[0], numbers[1], numbers[2])

    @property
    def time(self) -> int | None:
        """Time point of the raw file, from 0; None: its only one."""
        return self._time("time")

    def segmentation_time(self, column: str) -> int | None:
        """Return the time point of ``seg1`` or another partner; default the raw file's."""
        own = f"time_{column}"
        return self._time(own if self[own] else "time")

    def _time(self, column: str) -> int | None:
        text = self[column]
        if text and not text.isdigit():
            raise ManifestError(
                self.where(column), f"{text!r} is not a time point", "Expected 0, 1, 2 ..."
            )
        return int(text) if text else None

    @property
    def plane(self) -> int | None:
        """Plane of a stack, from 0; None: the whole image."""
        text = self["plane"]
        if text in ("", *PLANE_WORDS):
            return None
        if not text.isdigit():
            expected = f"Expected 0, 1, 2 ..., or {' or '.join(PLANE_WORDS)}."
            raise ManifestError(self.where("plane"), f"{text!r} is not a plane", expected)
        return int(text)

    @property
    def ignore_labels(self) -> tuple[int, ...]:
        """Values of the segmentations that mark voxels nobody labelled; empty without any."""
        try:
            return tuple(int(part) for part in re.split(r"[\s,;]+", self["ignore_label"]) if part)
        except ValueError as error:
            raise ManifestError(
                self.where("ignore_label"),
                f"{self['ignore_label']!r} is not a label",
                "Expected whole numbers, for example 255 or -1.",
            ) from error

    def where(self, column: str) -> str:
        """Return the place of a cell, for an error message."""
        return f"row {self.number} ({self.id}), column {column!r}"


@dataclass
class Manifest:
    """Rows of one CSV file.

    Attributes
    ----------
    path : Path
        The CSV file.
    rows : list of Row
    """

    path: Path
    rows: list[Row]

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)
