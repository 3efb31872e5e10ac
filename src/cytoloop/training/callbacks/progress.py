"""Progress on the terminal: epoch, step, loss, score, time left; one line an epoch in a log."""

from __future__ import annotations

import logging
import time
from typing import Any

from lightning import Callback, LightningModule, Trainer
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as RichProgress

from cytoloop.terminal import stderr_console
from cytoloop.training.callbacks.data_timer import DataTimer

log = logging.getLogger(__name__)

_DOING, _BAR = len("validating"), 16
_BESIDE = _DOING + _BAR + 3  # columns of the line, and the gaps, that are not for the facts


class Progress(Callback):
    """Show how far the training is.

    On a terminal a bar is redrawn in place and a line is printed for each new best score;
    elsewhere (a log file, a cluster job) each validation prints a line.

    Parameters
    ----------
    monitor : str
        The score that chooses the best checkpoint.
    mode : str
        ``max`` or ``min``.
    """

    def __init__(self, monitor: str = "val/dice", mode: str = "max") -> None:
        self.monitor = monitor
        self.mode = mode
        self._bar: RichProgress | None = None
        self._task: Any = None
        self._started = 0.0
        self._spent_before = 0.0
        self._loss = float("nan")
        self._best: float | None = None
        self._wait = DataTimer()

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run must remember: the best score."""
        return {"best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the best score of the run that is resumed."""
        self._best = state_dict.get("best")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the bar."""
        self._started = time.monotonic()
        self._spent_before = self._spent(pl_module)
        if stderr_console.is_terminal and trainer.is_global_zero:
            self._bar = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=_BAR),
                TextColumn("{task.fields[facts]}"),
                console=stderr_console,
                transient=True,
            )
            self._task = self._bar.add_task("training", total=1.0, facts="")
            self._bar.start()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, *args: Any
    ) -> None:
        """Stop waiting for a batch."""
        self._wait.batch_starts()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *args: Any
    ) -> None:
        """Redraw the bar."""
        self._wait.batch_ends()
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        if self._bar is not None and loss is not None:
            value = float(loss)
            first = self._loss != self._loss  # NaN
            self._loss = value if first else 0.95 * self._loss + 0.05 * value
            self._draw(trainer, pl_module, "training")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say that the images are being validated."""
        self._wait.pause()
        if self._bar is not None:
            self._draw(trainer, pl_module, "validating")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the score."""
        value = trainer.callback_metrics.get(self.monitor)
        if trainer.sanity_checking or value is None:
            return
        score = float(value)
        better = self._best is None or (score > self._best) == (self.mode == "max")
        if better:
            self._best = score
        if better or self._bar is None:
            log.info(
                "epoch %s  step %d  %s %.4f%s  %s",
                self._epoch(trainer),
                trainer.global_step,
                self.monitor,
                score,
                " (best)" if better else "",
                self._left(pl_module),
            )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the bar away."""
        self._stop()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Take the bar away, so that the error can be read."""
        self._stop()

    def _draw(self, trainer: Trainer, pl_module: LightningModule, doing: str) -> None:
        facts = [self._left(pl_module), f"epoch {self._epoch(trainer)}"]
        facts += [f"step {trainer.global_step}", f"loss {self._loss:.3f}"]
        facts += [f"best {self.monitor} {self._best:.3f}"] if self._best is not None else []
        facts += [f"data wait {self._wait.share:.0%}"]
        told = "  ".join(fact for fact in facts if fact)
        while len(told) > max(stderr_console.width - _BESIDE, 0):  # else rich takes it from the bar
            told = told.rpartition("  ")[0]
        if self._bar is not None:
            self._bar.update(
                self._task,
                completed=self._spent(pl_module),
                description=f"{doing:<{_DOING}}",
                facts=told,
            )

    def _left(self, pl_module: LightningModule) -> str:
        """Return the time left in words, from the share of the budget spent so far."""
        share = self._spent(pl_module) - self._spent_before
        if share <= 0:
            return ""
        seconds = (time.monotonic() - self._started) * (1 - self._spent(pl_module)) / share
        if seconds < 90:
            return f"{seconds:.0f} s left"
        minutes = round(seconds / 60)
        return f"{minutes} min left" if minutes < 90 else f"{minutes / 60:.1f} h left"

    @staticmethod
    def _spent(pl_module: LightningModule) -> float:
        return float(pl_module.budget_spent())  # type: ignore[operator]

    @staticmethod
    def _epoch(trainer: Trainer) -> str:
        last = trainer.max_epochs
        return f"{trainer.current_epoch + 1}" + (f"/{last}" if last and last > 0 else "")

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
