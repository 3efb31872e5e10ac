"""Fine-tuning: start from the weights of an earlier round, and say what was taken."""

from __future__ import annotations

import logging
from pathlib import Path

from lightning import Callback, LightningModule, Trainer

from cytoloop.errors import ModelError
from cytoloop.model.blueprint import describe
from cytoloop.model.checkpoint import read_checkpoint

log = logging.getLogger(__name__)


class WarmStart(Callback):
    """Load the weights of a checkpoint before the first step; optimizer and epochs start anew.

    Parameters
    ----------
    path : str or Path
        The checkpoint, ours or of another origin (`cytoloop.model.foreign`), or the folder of
        one. Its state must fit the network name by name, shape by shape.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Load the weights.

        Raises
        ------
        ModelError
            Names or shapes differ; every difference is listed.
        """
        checkpoint = read_checkpoint(self.path)
        weights = checkpoint.weights
        own = pl_module.state_dict()
        problems = [f"{k}: only in the checkpoint" for k in sorted(set(weights) - set(own))]
        problems += [f"{k}: only in the network" for k in sorted(set(own) - set(weights))]
        problems += [
            f"{k}: shape {tuple(weights[k].shape)} but the network's is {tuple(own[k].shape)}"
            for k in sorted(set(own) & set(weights))
            if weights[k].shape != own[k].shape
        ]
        if problems:
            shown = problems[:6] + ([f"... and {len(problems) - 6} more"] if problems[6:] else [])
            raise ModelError(
                str(checkpoint.path),
                ["the weights do not fit this network", *shown],
                "Use the model/size, model and channels that the checkpoint was trained with: "
                f"{describe(checkpoint.backbone)}.",
            )
        pl_module.load_state_dict(weights)
        here = dict(pl_module.hparams.get("image") or {}).get("normalization")
        there = checkpoint.image.get("normalization")
        if here and there and dict(here) != dict(there):
            log.warning(
                "%s was trained on images normalised by %s, this training has %s: "
                "normalization=%s makes them alike",
                checkpoint.path,
                *(" ".join(map(str, dict(rule).values())) for rule in (there, here)),
                there.get("method"),
            )
        log.info("starting from %s: %d weights loaded, none skipped", checkpoint.path, len(weights))
