"""BioImage Model Zoo importer: packages with TorchScript, ONNX or a network of a known library.

No code of a package is run. Weights, axes, grey levels and outputs are honoured, or the package is
refused with the reason; its test input must give its test output.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cytoloop.model.importers.bioimage.description import FILES, find_file, is_description
from cytoloop.model.importers.bioimage.read import read_package
from cytoloop.model.importers.imported_model import ImportedModel

__all__ = ["FILES", "find_file", "is_description", "is_model", "read"]


def is_model(path: Path, content: Any) -> bool:
    """Return whether a file is the description of a package."""
    return is_description(path)


def read(path: Path, content: Any) -> ImportedModel:
    """Return the model of a package, see `read_package`; the content is not used."""
    return read_package(path)
