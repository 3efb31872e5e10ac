"""Stop a training whose loss becomes NaN or infinite, and keep its last good checkpoints."""

from __future__ import annotations

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from cytoloop.errors import ModelError

CYTODL_REPAIR = (
    "Lower the learning rate (model.optimizer...lr) to a tenth, limit gradients "
    "(trainer.gradient_clip_val=1), or set trainer.precision=32. Earlier checkpoints are kept."
)
_REPAIR = (
    "Check these images; lower model.optimizer.lr or trainer.gradient_clip_val, or set "
    "trainer.precision=32. init_from=FOLDER of this training starts from its best weights."
)


class TerminateOnLostWeights(Callback):
    """Stop a training of CytoDL whose weights became NaN or infinite; never save such weights.

    Losses are not checked: with 16-bit precision a single one may be NaN, and its step is skipped.
    Buffers are not checked either: a mask may hold infinity.
    """

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the weights.

        Raises
        ------
        ModelError
            A weight is NaN or infinite. Checkpoints are those of the epochs before.
        """
        self._check(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Check the weights before they are saved; raises as `on_train_epoch_end` does."""
        self._check(trainer, pl_module)

    def _check(self, trainer: Trainer, pl_module: LightningModule) -> None:
        named = list(pl_module.named_parameters())
        bad = [name for name, value in named if not bool(torch.isfinite(value).all())]
        if bad:
            raise ModelError(
                f"epoch {trainer.current_epoch + 1}, step {trainer.global_step}",
                f"the training diverged: {len(bad)} of {len(named)} weights are NaN or infinite, "
                f"first {bad[0]}",
                CYTODL_REPAIR,
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
