"""Models of ours in the forms of other tools. What is written is loaded again and compared.

- weights with a ``config.json``, as the Segmentation module has them: `pair`
- an experiment of CytoDL and Segmenter ML: `cytodl`
- a package of the BioImage Model Zoo: `bioimage`
- a graph that runs without its Python: ONNX, TorchScript, ExportedProgram: `graphs`

A form that cannot hold a model exactly is refused with the reason, and nothing is left behind.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cytoloop.errors import ConfigError, OutputError
from cytoloop.io.atomic import replacing_folder
from cytoloop.model.checkpoint import Checkpoint
from cytoloop.model.exporters.bioimage import write_bioimage
from cytoloop.model.exporters.cytodl import write_cytodl
from cytoloop.model.exporters.graphs import write_onnx, write_program, write_torchscript
from cytoloop.model.exporters.metadata import About
from cytoloop.model.exporters.weights_and_config import write_pair

__all__ = ["FORMATS", "About", "check_output", "export_model"]

FORMATS: dict[str, Callable[[Checkpoint, Path, About], float]] = {
    "folder": write_pair,
    "cytodl": write_cytodl,
    "bioimageio": write_bioimage,
    "onnx": write_onnx,
    "torchscript": write_torchscript,
    "pt2": write_program,
}
"""Each writes into a folder and returns the largest difference from our own output."""


def export_model(
    checkpoint: Checkpoint, form: str, output: str | Path, about: About, overwrite: bool = False
) -> float:
    """Write a model in another form, whole or not at all.

    Parameters
    ----------
    checkpoint : Checkpoint
    form : str
        One of `FORMATS`.
    output : str or Path
        Folder that is made.
    about : About
    overwrite : bool
        Replace what the folder holds.

    Returns
    -------
    float
        Largest difference of the written model's output from ours, on seeded noise; logits, for
        ``bioimageio`` what it gives out.

    Raises
    ------
    ConfigError
        An unknown form.
    ModelError
        It cannot hold this model, a package is missing, or its output differs.
    OutputError
        The folder is not empty, or cannot be written to.
    """
    if form not in FORMATS:
        raise ConfigError(f"format={form}", "is unknown", f"One of {', '.join(FORMATS)}, pyfunc.")
    check_output(output, overwrite)
    try:
        with replacing_folder(output) as temporary:
            temporary.mkdir()
            return FORMATS[form](checkpoint, temporary, about)
    except OSError as error:
        raise OutputError(
            str(output), f"cannot be written to: {error.strerror}", "Take another output=."
        ) from error


def check_output(output: str | Path, overwrite: bool) -> None:
    """Refuse a folder that holds something, unless it may be replaced.

    Raises
    ------
    OutputError
    """
    output = Path(output)
    if output.is_dir() and any(output.iterdir()) and not overwrite:
        raise OutputError(
            str(output), "is not empty", "Take another output=, or replace it: overwrite=true."
        )
