"""A resumed training with a budget in steps continues with the right epoch."""

from __future__ import annotations

from typing import Any

from lightning import Callback, LightningModule, Trainer

_UNLIMITED = -1


class ExactResume(Callback):
    """Let Lightning continue after a whole epoch where ``trainer.max_steps`` is set.

    With a budget in epochs, Lightning sees that a checkpoint was written at the end of an epoch and
    starts the next one. With ``max_steps`` it takes each checkpoint for one inside an epoch: it
    ends that epoch once more, and all patches of the next epoch are lost. So the limit is set when
    the loops have read the checkpoint.
    """

    def __init__(self) -> None:
        self._max_steps: int | None = None

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Lift the limit until the loops have read the checkpoint, unless it is reached."""
        if checkpoint.get("global_step", 0) < trainer.max_steps:
            self._max_steps = trainer.max_steps
            trainer.fit_loop.epoch_loop.max_steps = _UNLIMITED

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the limit again."""
        if self._max_steps is not None:
            trainer.fit_loop.epoch_loop.max_steps = self._max_steps
            self._max_steps = None
