"""Progress as JSON lines, so that any front end can follow a training."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from cytoloop.training.callbacks.data_timer import DataTimer


class ProgressLog(Callback):
    """Append a line to ``progress.jsonl`` every few steps and after each validation.

    A line has ``event`` (``start``, ``step``, ``validation``, ``end``), ``epoch`` (from 0),
    ``step``, ``seconds`` since the start, ``spent`` (share of the budget), ``seconds_left``,
    ``loss`` and ``dice`` of the step's patches, ``lr``, ``data_wait`` (share of the time spent
    waiting for batches) and the ``scores`` of a validation. A resumed run goes on in the same file.
    The share of waiting also goes to the logger, as ``train/data_wait``.

    Parameters
    ----------
    path : str or Path
    every_n_steps : int
    """

    def __init__(self, path: str | Path, every_n_steps: int = 10) -> None:
        self.path = Path(path)
        self.every_n_steps = every_n_steps
        self.wait = DataTimer()
        self._started = 0.0
        self._spent_before = 0.0
        self._step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the start."""
        self._started = time.monotonic()
        self._spent_before = _spent(pl_module)
        self._write(trainer, pl_module, "start")

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, *args: Any
    ) -> None:
        """Stop waiting."""
        self.wait.batch_starts()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *args: Any
    ) -> None:
        """Note a step."""
        self.wait.batch_ends()
        pl_module.log("train/data_wait", self.wait.share, on_step=False, on_epoch=True)
        due = trainer.global_step % self.every_n_steps == 0
        if due and trainer.global_step != self._step:  # several batches make a step
            self._step = trainer.global_step
            found = outputs if isinstance(outputs, dict) else {"loss": outputs}
            names = [name for name in ("loss", "dice") if found.get(name) is not None]
            facts = {name: float(found[name]) for name in names}
            facts |= {"lr": float(trainer.optimizers[0].param_groups[0]["lr"])}
            self._write(trainer, pl_module, "step", **facts)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do not count validation as waiting."""
        self.wait.pause()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the scores."""
        if not trainer.sanity_checking:
            scores = {k: float(v) for k, v in trainer.callback_metrics.items() if "val/" in k}
            self._write(trainer, pl_module, "validation", scores=scores)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the end."""
        self._write(trainer, pl_module, "end")

    def _write(
        self, trainer: Trainer, pl_module: LightningModule, event: str, **facts: Any
    ) -> None:
        if not trainer.is_global_zero:
            return
        seconds = time.monotonic() - self._started
        spent = _spent(pl_module)
        done = spent - self._spent_before
        line = {
            "event": event,
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "seconds": round(seconds, 1),
            "spent": round(spent, 4),
            "seconds_left": round(seconds * (1 - spent) / done, 1) if done > 0 else None,
            "data_wait": round(self.wait.share, 4),
            **{name: _plain(value) for name, value in facts.items()},
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _plain(value: Any) -> Any:
    """Return a value that JSON knows: NaN and infinity are null."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return value if not isinstance(value, float) or math.isfinite(value) else None


def _spent(pl_module: LightningModule) -> float:
    return float(pl_module.budget_spent())  # type: ignore[operator]
