"""A training whose loss is no number any more ends at once, with its last good weights kept."""

from __future__ import annotations

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from cytoloop.errors import ModelError

_REPAIR = (
    "Look at these images; lower model.optimizer.lr, lower trainer.gradient_clip_val, or take "
    "trainer.precision=32. init_from=FOLDER of this training starts from its best weights."
)


class TerminateOnNaN(Callback):
    """Stop before a step that would spoil the weights, and keep spoilt weights off the disk.

    The loss is looked at before the gradients are made, so the weights are still those of the step
    before. Gradients can overflow where the loss does not: weights are looked at when they are
    saved.
    """

    def __init__(self) -> None:
        self._images: list[str] = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember which images a batch is of."""
        names = batch.get("id", []) if isinstance(batch, dict) else []
        self._images = list(dict.fromkeys(map(str, names)))

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Look at the loss.

        Raises
        ------
        ModelError
            It is NaN or infinite.
        """
        if not bool(torch.isfinite(loss)):
            raise self._error(trainer, f"the loss is {float(loss)}")

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Look at the weights.

        Raises
        ------
        ModelError
            Some are NaN or infinite: the file that is there stays.
        """
        weights = checkpoint["state_dict"].items()
        spoilt = [name for name, value in weights if not bool(torch.isfinite(value).all())]
        if spoilt:
            raise self._error(trainer, f"{len(spoilt)} weights are no numbers, first {spoilt[0]}")

    def _error(self, trainer: Trainer, found: str) -> ModelError:
        images = f" (images of the batch: {', '.join(self._images)})" if self._images else ""
        return ModelError(f"step {trainer.global_step}", found + images, _REPAIR)
