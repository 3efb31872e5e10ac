"""A clean stop: Ctrl-C (or SIGTERM) ends the run between two steps, with `last.ckpt` written."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.fabric.plugins.environments import SLURMEnvironment

log = logging.getLogger(__name__)

_PREEMPTED = getattr(signal, "SIGUSR1", None)  # what SLURM sends by `--signal=USR1@90`


@contextmanager
def clean_stop() -> Iterator[None]:
    """Take SIGTERM for a Ctrl-C; what handles signals inside the block is gone after it.

    Lightning puts back the handlers that it finds when it starts, which are those of our
    callback: without this a Ctrl-C after the training would wait for a step that never comes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM, _PREEMPTED) if n is not None]
    former = {number: signal.getsignal(number) for number in numbers}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


class SaveOnStop(Callback):
    """Save the state at the next step's end when a stop is asked for, then stop.

    A second Ctrl-C does not wait. A stop during validation waits for its end, where the
    checkpoint callback saves: a run resumed from there repeats nothing. In a SLURM job SIGUSR1
    is such a stop too, and puts the job back into the queue. Run the training inside
    `clean_stop`, which gives the signals back.

    Parameters
    ----------
    path : str or Path
        Where the last checkpoint goes.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.asked = False
        self._requeue = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the signals (only the main thread may)."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)
        if _PREEMPTED is not None and SLURMEnvironment.detect():
            signal.signal(_PREEMPTED, self._preempt)  # Lightning then leaves it to us

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take SIGTERM back: Lightning's handler would wait for the other processes in any step."""
        if trainer.world_size > 1 and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, number: int, frame: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        log.info("stopping after this step (Ctrl-C again: at once)")

    def _preempt(self, number: int, frame: Any) -> None:
        self.asked = self._requeue = True
        log.info("SLURM takes the machine back: saving after this step")

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        """Save and stop, unless validation follows: it saves at its end."""
        last = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        if self._agreed(trainer) and not last:
            trainer.save_checkpoint(self.path)
            self._stop(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save and stop after the last step of an epoch that no validation follows."""
        validated = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
        if self._agreed(trainer) and not validated:
            trainer.save_checkpoint(self.path)
            self._stop(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop after a validation: by now the checkpoint callbacks have saved."""
        if self._agreed(trainer):
            self._stop(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop after the last epoch: what follows the training waits for a resumed run."""
        if self._agreed(trainer):
            self._stop(trainer)

    def _agreed(self, trainer: Trainer) -> bool:
        """Tell whether any process was asked: they stop at the same step, or wait for ever."""
        if trainer.world_size == 1:
            return self.asked
        strategy: Any = trainer.strategy
        return bool(strategy.reduce_boolean_decision(self.asked, all=False))

    def _stop(self, trainer: Trainer) -> None:
        if self._requeue and trainer.is_global_zero:
            _requeue()
        raise KeyboardInterrupt


def _requeue() -> None:
    """Put the SLURM job of this process back into the queue."""
    job = os.environ.get("SLURM_JOB_ID", "")
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        job = f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID', '')}"
    if not re.fullmatch(r"\d+(_\d+)?", job):
        log.error("this SLURM job cannot be requeued: its id is %r", job)
        return
    try:
        done = subprocess.run(
            ["scontrol", "requeue", job], capture_output=True, text=True, timeout=60, check=False
        )
        problem = done.stderr.strip() if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    if problem:
        log.error("SLURM job %s was not requeued: %s", job, problem)
    else:
        log.info("SLURM job %s is in the queue again", job)
