"""Stop a training on Ctrl-C, SIGTERM or a closed terminal after a whole step, and save it."""

from __future__ import annotations

import logging
import os
import re
import signal
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch.callbacks import Checkpoint

log = logging.getLogger(__name__)

_PREEMPTED = getattr(signal, "SIGUSR1", None)  # SLURM sends it with `--signal=USR1@90`
_HANG_UP = getattr(signal, "SIGHUP", None)  # the terminal was closed, or its connection is lost


@contextmanager
def clean_stop() -> Iterator[None]:
    """Treat SIGTERM and SIGHUP like Ctrl-C, and restore the signal handlers afterwards.

    At its end Lightning restores the handlers it found at its start, which are those of
    `SaveOnStop`. Without this block a Ctrl-C after the training would wait for a step that never
    comes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    known = (signal.SIGINT, signal.SIGTERM, _PREEMPTED, _HANG_UP)
    former = {number: signal.getsignal(number) for number in known if number is not None}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if _HANG_UP is not None and not _is_ignored(_HANG_UP):
        signal.signal(_HANG_UP, _hang_up)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _is_ignored(number: int) -> bool:
    """Return whether a signal is ignored, as ``nohup`` does with SIGHUP."""
    return signal.getsignal(number) is signal.SIG_IGN


def _hang_up(number: int, frame: Any) -> None:
    """Handle SIGHUP outside of the fit."""
    _leave_terminal()
    raise KeyboardInterrupt


def _leave_terminal() -> None:
    """Send further output nowhere: the terminal is gone, and writing to it would fail."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        try:
            is_terminal = stat.S_ISCHR(os.fstat(number).st_mode)
        except OSError:  # closed
            continue
        if is_terminal:
            os.dup2(nowhere, number)
    os.close(nowhere)


class SaveOnStop(Checkpoint):
    """On Ctrl-C, SIGTERM or SIGHUP, finish the step, save the checkpoint and stop.

    SIGHUP comes when the terminal is closed or its connection is lost. A second Ctrl-C stops at
    once. During validation the stop waits for its end, where the checkpoint callback saves: a
    resumed run repeats nothing. In a SLURM job SIGUSR1 stops the training too, and requeues the
    job. Run the training inside `clean_stop`, which restores the signal handlers.

    As a `Checkpoint` it acts after all other callbacks, whose states it saves. List it after the
    checkpoint of the best score. Lightning's `OnExceptionCheckpoint` saves in the middle of a step
    instead.

    Parameters
    ----------
    path : str or Path
        The checkpoint to write.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.stop_requested = False
        self._requeue_requested = False
        self._saved = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the signal handlers; only the main thread may."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._request_stop)
        if _HANG_UP is not None and not _is_ignored(_HANG_UP):
            signal.signal(_HANG_UP, self._request_stop)
        if _PREEMPTED is not None and SLURMEnvironment.detect():
            signal.signal(_PREEMPTED, self._request_requeue)  # Lightning keeps an existing handler

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the handler of SIGTERM again.

        Lightning replaces it if there are several processes. Its handler waits for the other
        processes, which may be in another step.
        """
        if trainer.world_size > 1 and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._request_stop)

    def _request_stop(self, number: int, frame: Any) -> None:
        """Handle SIGINT, SIGTERM and SIGHUP."""
        if number == _HANG_UP:
            _leave_terminal()
        elif self.stop_requested:
            raise KeyboardInterrupt
        self.stop_requested = True
        log.info("stopping after this step (press Ctrl-C again to stop at once)")

    def _request_requeue(self, number: int, frame: Any) -> None:
        """Handle SIGUSR1 of SLURM."""
        self.stop_requested = self._requeue_requested = True
        log.info("SLURM ends this job soon: saving after this step")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save after a whole step, unless it is the last one of the epoch.

        A step of several batches is whole after the last one: no checkpoint holds gradients.
        """
        last = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        whole = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if whole and not last and self._is_requested(trainer):
            trainer.save_checkpoint(self.path)
            self._saved = True

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        """Stop before the next step: only now the saved step is logged."""
        if self._saved:
            self._stop(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save and stop, unless a validation follows: the checkpoint callbacks save at its end."""
        validated = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
        if self._is_requested(trainer) and not validated:
            trainer.save_checkpoint(self.path)
            self._stop(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop after a validation; the checkpoint callbacks have saved by now."""
        if self._is_requested(trainer):
            self._stop(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop after the last epoch, before tuning and the final test; a resumed run does these."""
        if self._is_requested(trainer):
            self._stop(trainer)

    def _is_requested(self, trainer: Trainer) -> bool:
        """Return whether a stop was requested in any process: all must stop at the same step."""
        if trainer.world_size == 1:
            return self.stop_requested
        strategy: Any = trainer.strategy
        return bool(strategy.reduce_boolean_decision(self.stop_requested, all=False))

    def _stop(self, trainer: Trainer) -> None:
        """End the training, and requeue the SLURM job if that was requested."""
        if self._requeue_requested and trainer.is_global_zero:
            _requeue()
        raise KeyboardInterrupt


def _requeue() -> None:
    """Requeue the SLURM job of this process."""
    job = os.environ.get("SLURM_JOB_ID", "")
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        job = f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID', '')}"
    if not re.fullmatch(r"\d+(_\d+)?", job):
        log.error("this SLURM job cannot be requeued: its id is %r, expected a number", job)
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
        log.info("SLURM job %s was requeued", job)
