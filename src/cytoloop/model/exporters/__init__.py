"""Exporters: models written in the formats of other tools, then loaded again and compared.

An exporter is a function that writes a model into an empty folder, and one entry in `EXPORTERS`.
Models that a format cannot hold exactly are refused with the reason, and nothing is left behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from cytoloop.errors import ConfigError, ModelError, OutputError
from cytoloop.intensity.normalization import STEPS
from cytoloop.io.atomic import replacing_folder
from cytoloop.model.checkpoint import Checkpoint
from cytoloop.model.exporters import bioimage, cytodl, graphs, weights_and_config
from cytoloop.model.exporters.metadata import About
from cytoloop.model.image_settings import require_image_settings

__all__ = ["EXPORTERS", "About", "Exporter", "check_output", "export_model"]


class Exporter(Protocol):
    """A function that writes a model in one format."""

    def __call__(self, checkpoint: Checkpoint, folder: Path, about: About, /) -> float:
        """Write a model into an empty folder; return the largest difference of its output."""


EXPORTERS: Mapping[str, Exporter] = {
    "folder": weights_and_config.write,
    "cytodl": cytodl.write,
    "bioimageio": bioimage.write,
    "onnx": graphs.write_onnx,
    "torchscript": graphs.write_torchscript,
    "pt2": graphs.write_program,
}

_ANY_STEPS = ("onnx", "torchscript", "pt2")
"""Formats beside which `model.json` describes the grey levels, whatever they are."""


def export_model(
    checkpoint: Checkpoint,
    format_name: str,
    output: str | Path,
    about: About,
    overwrite: bool = False,
) -> float:
    """Write a model in another format, complete or not at all.

    Parameters
    ----------
    checkpoint : Checkpoint
    format_name : str
        One of `EXPORTERS`.
    output : str or Path
        Folder to write.
    about : About
    overwrite : bool
        Replace the content of the folder.

    Returns
    -------
    float
        Largest difference of the exported model's output from the checkpoint's, on seeded noise.
        It is a difference of logits; for ``bioimageio``, of the package's output.

    Raises
    ------
    ConfigError
        An unknown format.
    ModelError
        The format cannot hold this model, a package is missing, or the output differs.
    OutputError
        The folder is not empty, or cannot be written.
    """
    if format_name not in EXPORTERS:
        raise ConfigError(
            f"format={format_name}", "is unknown", f"Expected {', '.join(EXPORTERS)}, pyfunc."
        )
    require_image_settings(str(checkpoint.path), checkpoint.image)
    if checkpoint.image.get("zoom"):
        raise ModelError(
            str(checkpoint.path),
            f"was trained on images zoomed by {checkpoint.image['zoom']}, which no format states",
            "Give its users the checkpoint itself.",
        )
    if output_kind := checkpoint.image.get("output"):
        raise ModelError(
            str(checkpoint.path),
            f"predicts {output_kind}, not a probability, which no format states",
            "Give its users the checkpoint itself.",
        )
    if str(checkpoint.backbone["_target_"]).startswith("cytoloop.model.networks.graph."):
        raise ModelError(
            str(checkpoint.path),
            "is a graph of another program, which is not written again",
            "Give its users the package that it comes from; format=pyfunc serves it.",
        )
    if checkpoint.image["normalization"]["method"] == STEPS and format_name not in _ANY_STEPS:
        raise ModelError(
            str(checkpoint.path),
            "has grey-level steps of another program, which this format does not state",
            f"Give its users the package itself, or take {', '.join(_ANY_STEPS)}, pyfunc.",
        )
    check_output(output, overwrite)
    try:
        with replacing_folder(output) as temporary:
            temporary.mkdir()
            return EXPORTERS[format_name](checkpoint, temporary, about)
    except OSError as error:
        raise OutputError(
            str(output), f"cannot be written: {error.strerror}", "Take another output=."
        ) from error


def check_output(output: str | Path, overwrite: bool) -> None:
    """Raise an error if a folder is not empty, unless it may be replaced.

    Raises
    ------
    OutputError
        The folder is not empty, and `overwrite` is False.
    """
    output = Path(output)
    if output.is_dir() and any(output.iterdir()) and not overwrite:
        raise OutputError(
            str(output), "is not empty", "Take another output=, or replace it: overwrite=true."
        )
