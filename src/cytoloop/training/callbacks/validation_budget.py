"""Limit the time of validation to a fraction of a budget in minutes."""

from __future__ import annotations

import time
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer

_NEVER = 2**31  # epochs


class ValidationBudget(Callback):
    """Skip validations that would take too much of a budget in minutes.

    After an epoch the model is validated if all validations so far and the next one, assumed as
    long as the last, take at most a fraction of the time since the start. The first epoch and the
    end of the budget are always validated. Budgets in steps or epochs are not changed: their result
    must not depend on the speed of the machine.

    Lightning's time-based ``val_check_interval`` has a fixed interval instead, and does not
    validate at the end.

    Parameters
    ----------
    fraction : float
        Fraction of the time since the start of training, above 0, up to 1.
    """

    def __init__(self, fraction: float = 0.1) -> None:
        self.fraction = fraction
        self._every_n_epochs: int | None = None  # as configured
        self._started = self._validation_started = 0.0
        self._validation_seconds = self._last_seconds = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start to measure the training."""
        self._every_n_epochs = trainer.check_val_every_n_epoch
        self._started = time.monotonic()
        self._validation_seconds = self._last_seconds = 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        """Decide whether a validation follows, in case this is the last batch of its epoch."""
        if self._every_n_epochs is None:
            return
        timers = [one for one in trainer.callbacks if isinstance(one, Timer)]  # type: ignore[attr-defined]
        left = [timer.time_remaining() for timer in timers]
        out_of_steps = 0 < trainer.max_steps <= trainer.global_step
        last_epoch = trainer.current_epoch + 1 == trainer.max_epochs
        if not left:  # a budget in steps may end inside an epoch, or between two validations
            trainer.should_stop = trainer.should_stop or out_of_steps
            every = 1 if out_of_steps or last_epoch else self._every_n_epochs
            trainer.check_val_every_n_epoch = every
            return
        elapsed = time.monotonic() - self._started
        affordable = self._validation_seconds + self._last_seconds <= self.fraction * elapsed
        # the timer checks the time a little later than this callback: 0.1 s left is none
        over = any(seconds is not None and seconds <= 0.1 for seconds in left)
        over |= out_of_steps
        # clocks of processes differ
        affordable, over = trainer.strategy.broadcast((affordable, over))
        trainer.should_stop = trainer.should_stop or over
        # Lightning reads this number after each batch
        every = self._every_n_epochs if affordable else _NEVER
        trainer.check_val_every_n_epoch = 1 if over else every

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start to measure the validation."""
        self._validation_started = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the time of the validation."""
        self._last_seconds = time.monotonic() - self._validation_started
        self._validation_seconds += self._last_seconds
