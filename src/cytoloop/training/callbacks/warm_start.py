"""Fine-tuning: start from the weights of a checkpoint and report which were used."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from cytoloop.intensity.normalization import STEPS
from cytoloop.intensity.preparation import complete_steps, step_names
from cytoloop.model.architecture import describe
from cytoloop.model.checkpoint import Checkpoint, read_checkpoint
from cytoloop.model.transfer import Transfer, transfer
from cytoloop.pretrained.shipped import is_shipped_file

log = logging.getLogger(__name__)


class WarmStart(Callback):
    """Load the weights of a checkpoint before the first step, without its optimizer and epochs.

    Lightning's ``ckpt_path`` would restore optimizer and epochs too. Heads and input channels may
    differ here, see `cytoloop.model.transfer`.

    Parameters
    ----------
    path : str or Path
        The checkpoint, ours or of another tool (`cytoloop.model.importers`), or its folder.
    strict : bool
        Refuse weights that do not fit; False: these keep their initial values.
    """

    def __init__(self, path: str | Path, strict: bool = True) -> None:
        self.path = Path(path)
        self.strict = strict

    def check(self, model: LightningModule) -> None:
        """Check that the weights fit, before a run is opened.

        Raises
        ------
        ModelError
            Lists every weight that does not fit.
        """
        self._transfer(read_checkpoint(self.path), model)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Load the weights.

        Raises
        ------
        ModelError
            See `check`.
        """
        checkpoint = read_checkpoint(self.path)
        found = self._transfer(checkpoint, pl_module)
        pl_module.load_state_dict({**pl_module.state_dict(), **found.state})
        here = dict(pl_module.hparams.get("image") or {}).get("normalization")
        there = checkpoint.image.get("normalization")
        if here and there and there.get("method") == STEPS:
            names = ", ".join(str(step["name"]) for step in there[STEPS])
            log.warning(
                "%s was trained with its own grey-level steps (%s), this training uses %s",
                checkpoint.path,
                names,
                " ".join(map(str, dict(here).values())),
            )
        elif here and there and dict(here) != dict(there) and not self._is_planned(here, there):
            log.warning(
                "%s was trained with normalization %s, this training uses %s; "
                "set normalization=%s to use the same",
                checkpoint.path,
                *(" ".join(map(str, dict(rule).values())) for rule in (there, here)),
                there.get("method"),
            )
        _compare_preparation(checkpoint, dict(pl_module.hparams.get("image") or {}))
        self._compare_voxel_sizes(checkpoint, dict(pl_module.hparams.get("image") or {}))
        log.info("starting from %s: %s", checkpoint.path, "; ".join(found.summary()))

    def _is_planned(self, here: Mapping[str, Any], there: Mapping[str, Any]) -> bool:
        """Return whether the images have chosen other percentiles than a shipped model's."""
        return is_shipped_file(self.path) and here.get("method") == there.get("method")

    def _compare_voxel_sizes(self, checkpoint: Checkpoint, image: Mapping[str, Any]) -> None:
        """Warn if the start resampled its images and this training does not, or differently."""
        there = checkpoint.image
        sizes = [list(one.get("spacing_um") or ()) for one in (there, image)]
        if there.get("resample") and not (image.get("resample") and sizes[0] == sizes[1]):
            log.warning(
                "%s was trained at a voxel size of %s um; set data.resample='[%s]' to use the same",
                checkpoint.path,
                " x ".join(f"{size:g}" for size in sizes[0]),
                ",".join(f"{size:g}" for size in sizes[0]),
            )

    def _transfer(self, checkpoint: Checkpoint, model: LightningModule) -> Transfer:
        """Return the checkpoint's weights, fitted to the model."""
        return transfer(
            f"{checkpoint.path} ({describe(checkpoint.backbone)})",
            _of_network(checkpoint.weights),
            _of_network(model.state_dict()),
            checkpoint.image,
            dict(model.hparams.get("image") or {}),
            self.strict,
        )


def _compare_preparation(checkpoint: Checkpoint, image: Mapping[str, Any]) -> None:
    """Warn if the start prepared its images by other steps than this training."""
    there, here = (complete_steps(one.get("preparation")) for one in (checkpoint.image, image))
    if there != here:
        log.warning(
            "%s was trained with preparation.steps=[%s], this training uses [%s]",
            checkpoint.path,
            *(step_names(steps) or "none" for steps in (there, here)),
        )


def _of_network(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the network; a loss may have tensors of its own."""
    return {name: value for name, value in weights.items() if name.startswith("backbone.")}
