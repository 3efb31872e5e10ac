"""Importers: models of other tools, read as data.

An importer is one module with `FILES`, `find_file`, `is_model` and `read`, and one entry in
`IMPORTERS`. Models that CytoLoop cannot predict with exactly are refused with the reason.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from cytoloop.errors import ModelError
from cytoloop.model.importers import bioimage, cytodl, weights_and_config
from cytoloop.model.importers.imported_model import ImportedModel

__all__ = [
    "IMPORTERS",
    "ImportedModel",
    "Importer",
    "find_checkpoint",
    "import_model",
    "is_package",
]

log = logging.getLogger(__name__)


class Importer(Protocol):
    """A module that reads the models of one tool.

    Attributes
    ----------
    FILES : str
        Name or pattern of the model files in a training folder, for messages.
    """

    FILES: str

    def find_file(self, folder: Path, /) -> Path | None:
        """Return the best model file in the folder of a training, None if there is none."""

    def is_model(self, path: Path, content: Any, /) -> bool:
        """Return whether a file with this content is a model of the tool."""

    def read(self, path: Path, content: Any, /) -> ImportedModel:
        """Return the model; raise ModelError if it cannot be read exactly."""


IMPORTERS: Mapping[str, Importer] = {
    "weights_and_config": weights_and_config,
    "cytodl": cytodl,
    "bioimageio": bioimage,
}
"""Importers by name. The first one that recognizes a file reads it."""


def is_package(path: Path) -> bool:
    """Return whether a file describes a package, whose weights are in other files."""
    return bioimage.is_description(path)


def find_checkpoint(folder: Path) -> Path:
    """Return the best model file in the folder of a training.

    Raises
    ------
    ModelError
        The folder has no model file of a known tool.
    """
    for importer in IMPORTERS.values():
        if file := importer.find_file(folder):
            return file
    expected = " or ".join(importer.FILES for importer in IMPORTERS.values())
    raise ModelError(
        str(folder),
        f"holds no model, expected {expected}",
        "Give the folder of one training, or the model file.",
    )


def import_model(path: Path, content: Any) -> ImportedModel:
    """Return the model in a file that another tool wrote.

    Parameters
    ----------
    path : Path
        The file.
    content : Any
        Its content, from `load_tensors`; None of a package.

    Raises
    ------
    ModelError
        No importer recognizes the file, or the model cannot be read exactly.
    """
    for importer in IMPORTERS.values():
        if importer.is_model(path, content):
            model = importer.read(path, content)
            log.info("%s: %s", path, model.summary)
            return model
    raise ModelError(
        str(path),
        "is not a checkpoint of CytoLoop or CytoDL, and has no config.json beside it",
        "Give a checkpoint or the folder of a training, a .pth file with its config.json, or a "
        "CytoDL checkpoint; `cytoloop train` makes a model.",
    )
