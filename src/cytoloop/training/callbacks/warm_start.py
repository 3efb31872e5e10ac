"""Fine-tuning: start from the weights of an earlier round, and say what was taken."""

from __future__ import annotations

import logging
from pathlib import Path

from lightning import Callback, LightningModule, Trainer

from cytoloop.model.architecture import describe
from cytoloop.model.checkpoint import Checkpoint, read_checkpoint
from cytoloop.model.transfer import Transfer, transfer

log = logging.getLogger(__name__)


class WarmStart(Callback):
    """Load the weights of a checkpoint before the first step; optimizer and epochs start anew.

    Parameters
    ----------
    path : str or Path
        The checkpoint, ours or of another origin (`cytoloop.model.importers`), or the folder of
        one. Heads and channels may differ, see `cytoloop.model.transfer`.
    strict : bool
        Refuse weights that cannot be fitted; False: they start anew.
    """

    def __init__(self, path: str | Path, strict: bool = True) -> None:
        self.path = Path(path)
        self.strict = strict

    def check(self, model: LightningModule) -> None:
        """Refuse weights that cannot be fitted, before a run is opened.

        Raises
        ------
        ModelError
            Every one is listed.
        """
        self._fit(read_checkpoint(self.path), model)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Load the weights.

        Raises
        ------
        ModelError
            Some cannot be fitted; every one is listed.
        """
        checkpoint = read_checkpoint(self.path)
        found = self._fit(checkpoint, pl_module)
        pl_module.load_state_dict(found.state)
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
        log.info("starting from %s: %s", checkpoint.path, "; ".join(found.summary()))

    def _fit(self, checkpoint: Checkpoint, model: LightningModule) -> Transfer:
        return transfer(
            f"{checkpoint.path} ({describe(checkpoint.backbone)})",
            checkpoint.weights,
            model.state_dict(),
            checkpoint.image,
            dict(model.hparams.get("image") or {}),
            self.strict,
        )
