"""The formats in which pictures are handed over, by name."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from cytoloop.curation.exchange.annotation.picture import Picture
from cytoloop.errors import ConfigError, ImageError

MODULES = {
    "supervisely": "cytoloop.curation.exchange.annotation.supervisely",
    "coco": "cytoloop.curation.exchange.annotation.coco",
    "imagej": "cytoloop.curation.exchange.annotation.imagej",
    "labels": "cytoloop.curation.exchange.annotation.label_images",
}


class Format(Protocol):
    """What a module of a format has."""

    def write_pictures(
        self, folder: Path, pictures: Iterable[Picture], title: str = "object"
    ) -> None:
        """Write a project into an empty folder."""

    def is_project(self, path: Path) -> bool:
        """Tell whether a file or folder is a project of this format."""

    def read_pictures(self, path: Path, title: str | None = None) -> Iterator[Picture]:
        """Read a project."""


def format_named(name: str) -> Format:
    """Return a format.

    Raises
    ------
    ConfigError
        There is none of this name.
    """
    if name not in MODULES:
        raise ConfigError("format", f"{name!r} is unknown", f"One of {', '.join(MODULES)}.")
    module: Format = importlib.import_module(MODULES[name])
    return module


def format_of(path: Path) -> Format:
    """Return the format of a project.

    Raises
    ------
    ImageError
        It is a project of none.
    """
    for name in MODULES:
        found = format_named(name)
        if found.is_project(path):
            return found
    raise ImageError(
        str(path),
        "is no project that can be read",
        f"Expected one of {', '.join(MODULES)}; see docs/annotation.md.",
    )
