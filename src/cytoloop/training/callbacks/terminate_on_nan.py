"""Stop a training whose loss becomes NaN or infinite, and keep its last good checkpoints."""

from __future__ import annotations

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from cytoloop.errors import ModelError

_REPAIR = (
    "Check these images; lower model.optimizer.lr or trainer.gradient_clip_val, or set "
    "trainer.precision=32. init_from=FOLDER of this training starts from its best weights."
)


class TerminateOnNaN(Callback):
    """Stop before a NaN or infinite loss reaches the weights; never save such weights.

    The loss is checked before the backward pass: the weights are still those of the step before.
    Gradients can overflow while the loss is finite, so weights are checked before they are saved.

    Lightning's ``EarlyStopping(check_finite=True)`` checks a logged metric after an epoch, when the
    weights are already lost.
    """

    def __init__(self) -> None:
        self._images: list[str] = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember the images of the batch, for the error."""
        names = batch.get("id", []) if isinstance(batch, dict) else []
        self._images = list(dict.fromkeys(map(str, names)))

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Check the loss.

        Raises
        ------
        ModelError
            The loss is NaN or infinite.
        """
        if not bool(torch.isfinite(loss)):
            raise self._error(trainer, f"the loss is {float(loss)}")

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Check the weights.

        Raises
        ------
        ModelError
            A weight is NaN or infinite. The former checkpoint file is kept.
        """
        weights = checkpoint["state_dict"].items()
        bad = [name for name, value in weights if not bool(torch.isfinite(value).all())]
        if bad:
            raise self._error(trainer, f"{len(bad)} weights are NaN or infinite, first {bad[0]}")

    def _error(self, trainer: Trainer, problem: str) -> ModelError:
        """Return the error, with the step and the images of the batch."""
        images = f" (images of the batch: {', '.join(self._images)})" if self._images else ""
        return ModelError(f"step {trainer.global_step}", problem + images, _REPAIR)
