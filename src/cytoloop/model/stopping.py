"""A clean stop: Ctrl-C (or SIGTERM) ends the run between two steps, with `last.ckpt` written."""

from __future__ import annotations

import logging
import signal
import threading
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

log = logging.getLogger(__name__)


class SaveOnStop(Callback):
    """Save the state at the next step's end when a stop is asked for, then stop.

    A second Ctrl-C does not wait. A stop during validation waits for its end, where the
    checkpoint callback saves: a run resumed from there repeats nothing.

    Parameters
    ----------
    path : str or Path
        Where the last checkpoint goes.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.asked = False
        self._former: dict[int, Any] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the signals (only the main thread may)."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._former[number] = signal.signal(number, self._ask)

    def _ask(self, number: int, frame: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        log.info("stopping after this step (Ctrl-C again: at once)")

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        """Save and stop, unless validation follows: it saves at its end."""
        if self.asked and not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            trainer.save_checkpoint(self.path)
            raise KeyboardInterrupt

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop after the last step of an epoch; a validation that followed it has saved."""
        if self.asked:
            if (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1):
                trainer.save_checkpoint(self.path)
            raise KeyboardInterrupt

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Give the signals back."""
        self._restore()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the signals back."""
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former.clear()
