"""The registry of exchange formats.

A format is one module with the functions `is_project`, `read` and `write`, and one entry here.
There are two kinds: annotation formats exchange pictures, data set formats exchange rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from cytoloop.curation.exchange.annotation import coco, imagej, label_images, supervisely
from cytoloop.curation.exchange.annotation.picture import Picture
from cytoloop.curation.exchange.datasets import cytodl, nnunet, segmenter_ml
from cytoloop.curation.exchange.recorded_folder import ExportResult
from cytoloop.home import expand_home
from cytoloop.manifest import Row


class Format(Protocol):
    """The function that both kinds of formats share, besides `read` and `write`."""

    def is_project(self, path: Path, /) -> bool:
        """Return whether a path is a project of this format."""


class AnnotationFormat(Format, Protocol):
    """A module that exchanges pictures with an annotation tool."""

    def read(self, path: Path, /, title: str | None = None) -> Iterator[Picture]:
        """Return the pictures of a project; `title` is the class to read."""

    def write(self, folder: Path, pictures: Iterable[Picture], /, title: str = "object") -> None:
        """Write a project into an existing empty folder; `title` is the class of the objects."""


class DatasetFormat(Format, Protocol):
    """A module that exchanges the rows of a data set with a training tool."""

    def read(self, folder: Path, /) -> list[Row]:
        """Return the rows of a data set, with ``id`` and ``split``."""

    def write(
        self, folder: Path, rows: Sequence[Row], /, on_problem: str = "refuse"
    ) -> ExportResult:
        """Write rows as a data set; `on_problem` is ``refuse`` or ``reject``."""


ANNOTATION_FORMATS: Mapping[str, AnnotationFormat] = {
    "supervisely": supervisely,
    "coco": coco,
    "imagej": imagej,
    "labels": label_images,
}
DATASET_FORMATS: Mapping[str, DatasetFormat] = {
    "cytodl": cytodl,
    "segmenter_ml": segmenter_ml,
    "nnunet": nnunet,
}

_Kind = TypeVar("_Kind", bound=Format)


def find_format(formats: Mapping[str, _Kind], path: str | Path) -> _Kind | None:
    """Return the first of the formats whose project a path is, None if it is of none."""
    project = expand_home(path)
    return next((one for one in formats.values() if one.is_project(project)), None)
