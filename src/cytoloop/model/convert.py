"""Conversion of models of other tools to CytoLoop checkpoints."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from cytoloop.io.atomic import replacing
from cytoloop.model.checkpoint import Checkpoint, build_network, read_checkpoint
from cytoloop.model.safe_load import unpacked_zip


@contextmanager
def converted_checkpoint(path: str | Path) -> Iterator[Path]:
    """Yield a temporary CytoLoop checkpoint of a model; it is removed after the block.

    Parameters
    ----------
    path : str or Path
        A checkpoint of CytoLoop or of another tool, its folder, or a zip of this folder.

    Raises
    ------
    ModelError
        The model cannot be read exactly, its weights do not fit, or the file is unsafe.
    """
    path = Path(path)
    if path.suffix.lower() == ".zip" and path.is_file():  # unpacked until the file is written
        with unpacked_zip(path) as folder, converted_checkpoint(folder) as converted:
            yield converted
            return
    checkpoint = read_checkpoint(path)
    build_network(checkpoint)  # raises if weights and architecture do not fit
    with tempfile.TemporaryDirectory(prefix="cytoloop-model-") as temporary:
        converted = Path(temporary) / "best.ckpt"
        write_checkpoint(checkpoint, converted)
        yield converted


def write_checkpoint(checkpoint: Checkpoint, path: str | Path) -> None:
    """Write a CytoLoop checkpoint, complete or not at all.

    The file of a CytoLoop checkpoint is copied unchanged.

    Parameters
    ----------
    checkpoint : Checkpoint
        From `read_checkpoint`.
    path : str or Path
        Where to write it.
    """
    with replacing(path) as temporary:
        if not checkpoint.imported:
            shutil.copyfile(checkpoint.path, temporary)
        else:
            hparams = {"backbone": checkpoint.backbone, "image": checkpoint.image}
            progress = {"epoch": checkpoint.epoch, "global_step": checkpoint.step}
            torch.save(
                {"state_dict": checkpoint.weights, "hyper_parameters": hparams, **progress},
                temporary,
            )
