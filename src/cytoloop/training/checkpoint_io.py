"""Write checkpoints to disk atomically, and keep the last two."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from cytoloop.errors import ConfigError, ModelError
from cytoloop.io.atomic import replacing
from cytoloop.model.safe_load import load_tensors

log = logging.getLogger(__name__)

LAST, PREVIOUS = "last.ckpt", "last-1.ckpt"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint to a temporary file and rename it; keep the former ``last.ckpt``.

    A power failure can damage data that the system has not yet written. Therefore the file is
    flushed to the disk before it is renamed, and the former ``last.ckpt`` becomes ``last-1.ckpt``.
    Lightning's own plugin does neither.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write a checkpoint of Lightning to a local path."""
        path = Path(path)
        with replacing(path) as temporary:
            with temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            if path.name == LAST and path.is_file():
                os.replace(path, path.with_name(PREVIOUS))


def find_last_checkpoint(folder: Path, max_epochs: int | None = None) -> Path:
    """Return ``last.ckpt`` of a folder, or ``last-1.ckpt`` if it is damaged or missing.

    Parameters
    ----------
    folder : Path
    max_epochs : int or None
        Where the resumed training is to end; -1 or None: another limit ends it.

    Raises
    ------
    ModelError
        Neither can be read.
    ConfigError
        The training has done more than `max_epochs` epochs.
    """
    problems = []
    for name in (LAST, PREVIOUS):
        try:
            checkpoint = load_tensors(folder / name)
        except (ModelError, OSError) as error:
            problem = error.problems[0] if isinstance(error, ModelError) else "is missing"
            problems.append(f"{name} {problem}")
            continue
        if problems:
            log.warning("%s: %s; resuming from %s", folder, problems[0], name)
        done = _epochs(checkpoint)
        if max_epochs not in (None, -1) and done > max_epochs:
            raise ConfigError(
                "trainer.max_epochs",
                f"is {max_epochs}, but this training has done {done} epochs",
                f"Set more than {done} to go on, or {done} to end the training here.",
            )
        return folder / name
    raise ModelError(
        str(folder), problems, "Start a new run; init_from=best.ckpt there, if it can be read."
    )


def _epochs(checkpoint: dict[str, Any]) -> int:
    """Return how many whole epochs the training of a checkpoint of Lightning has done."""
    found = checkpoint
    for key in ("loops", "fit_loop", "epoch_progress", "current"):
        found = found.get(key, {})
    return int(found.get("processed", 0))
