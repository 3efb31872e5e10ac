"""How checkpoints reach the disk: whole or not at all, the last one with the one before it."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from cytoloop.errors import ModelError
from cytoloop.io.atomic import replacing
from cytoloop.model.safe_load import load_tensors

log = logging.getLogger(__name__)

LAST, PREVIOUS = "last.ckpt", "last-1.ckpt"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write checkpoints aside, onto the disk, and rename them; keep the former ``last.ckpt``.

    A loss of power can spoil what the system had not yet written, so the file is on the disk
    before it takes its name, and the one that was there becomes ``last-1.ckpt``.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write a checkpoint of Lightning's to a path on this machine."""
        path = Path(path)
        with replacing(path) as temporary:
            with temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            if path.name == LAST and path.is_file():
                os.replace(path, path.with_name(PREVIOUS))


def find_last_checkpoint(folder: Path) -> Path:
    """Return ``last.ckpt`` of a folder, or the one before it where that is damaged or missing.

    Raises
    ------
    ModelError
        Neither can be read.
    """
    problems = []
    for name in (LAST, PREVIOUS):
        try:
            load_tensors(folder / name)
        except (ModelError, OSError) as error:
            found = error.problems[0] if isinstance(error, ModelError) else "is missing"
            problems.append(f"{name} {found}")
            continue
        if problems:
            log.warning("%s: %s; going on from %s", folder, problems[0], name)
        return folder / name
    raise ModelError(
        str(folder), problems, "Start a new run; init_from=best.ckpt there, if it is sound."
    )
