"""Validation takes its share of a budget of minutes and no more."""

from __future__ import annotations

import time
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer

_NEVER = 2**31


class ValidationBudget(Callback):
    """Leave out validations that would take too much of a budget of minutes.

    After an epoch the validation images are predicted only if that, as long as it took the last
    time, keeps to a share of the time since the start; the first epoch and the end of the budget
    are always followed by one. Budgets of steps or epochs are left alone: what they give must not
    hang on how fast a machine is.

    Parameters
    ----------
    fraction : float
        Of the time since training began, above 0, up to 1.
    """

    def __init__(self, fraction: float = 0.1) -> None:
        self.fraction = fraction
        self._every: int | None = None
        self._started = self._begun = 0.0
        self._spent = self._last = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the clock."""
        self._every = trainer.check_val_every_n_epoch
        self._started = time.monotonic()
        self._spent = self._last = 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        """Decide, for the case that this was the last batch of its epoch."""
        if self._every is None:
            return
        timers = [one for one in trainer.callbacks if isinstance(one, Timer)]  # type: ignore[attr-defined]
        left = [timer.time_remaining() for timer in timers]
        spent = 0 < trainer.max_steps <= trainer.global_step
        last = trainer.current_epoch + 1 == trainer.max_epochs
        if not left:  # a budget in steps may end within an epoch, one in epochs between two
            trainer.should_stop = trainer.should_stop or spent
            trainer.check_val_every_n_epoch = 1 if spent or last else self._every
            return
        elapsed = time.monotonic() - self._started
        affordable = self._spent + self._last <= self.fraction * elapsed
        # the timer looks a little later than this: what it will find over is over
        over = any(seconds is not None and seconds <= 0.1 for seconds in left)
        over |= spent
        # the clocks of several processes differ
        affordable, over = trainer.strategy.broadcast((affordable, over))
        trainer.should_stop = trainer.should_stop or over
        # Lightning reads this number after each batch
        trainer.check_val_every_n_epoch = 1 if over else self._every if affordable else _NEVER

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the clock."""
        self._begun = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count what the validation took."""
        self._last = time.monotonic() - self._begun
        self._spent += self._last
