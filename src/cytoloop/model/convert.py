"""A model of any origin, from a file, a folder or a zip, as a checkpoint of ours."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from cytoloop.io.atomic import replacing
from cytoloop.model.checkpoint import Checkpoint, build_network, read_checkpoint
from cytoloop.model.safe_load import load_tensors, unpacked


@contextmanager
def converted_checkpoint(path: str | Path) -> Iterator[Path]:
    """Yield a checkpoint of ours with the model at a path, for as long as the block lasts.

    Parameters
    ----------
    path : str or Path
        A checkpoint of any origin, the folder of one, or a zip of such a folder.

    Raises
    ------
    ModelError
        It cannot be read exactly, or is not to be trusted.
    """
    path = Path(path)
    if path.suffix.lower() == ".zip":
        with unpacked(path) as folder, converted_checkpoint(folder) as own:
            yield own
            return
    ours = path / "best.ckpt"
    checkpoint = read_checkpoint(ours if ours.is_file() else path)
    build_network(checkpoint)  # weights that do not fit are no model
    with tempfile.TemporaryDirectory(prefix="cytoloop-model-") as temporary:
        own = Path(temporary) / "best.ckpt"
        write_own(checkpoint, own)
        yield own


def write_own(checkpoint: Checkpoint, path: str | Path) -> None:
    """Write a checkpoint of ours, whole or not at all.

    One of ours is copied as it is; of another origin, what it was read as is written.

    Parameters
    ----------
    checkpoint : Checkpoint
        From `read_checkpoint`.
    path : str or Path

    Raises
    ------
    ModelError
        The file has been damaged since it was read.
    """
    content = load_tensors(checkpoint.path)
    told = content.get("hyper_parameters") if isinstance(content, Mapping) else None
    own = isinstance(told, Mapping) and {"backbone", "image"} <= set(told)
    with replacing(path) as temporary:
        if own:
            shutil.copyfile(checkpoint.path, temporary)
        else:
            hparams = {"backbone": checkpoint.backbone, "image": checkpoint.image}
            counted = {"epoch": checkpoint.epoch, "global_step": checkpoint.step}
            torch.save(
                {"state_dict": checkpoint.weights, "hyper_parameters": hparams, **counted},
                temporary,
            )
