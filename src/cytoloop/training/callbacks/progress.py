"""Progress of a training: measured once, shown on the terminal, in a file and by the loggers."""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import torch
from lightning import Callback, LightningModule, Trainer

from cytoloop.training.callbacks.progress_bar import ProgressBar, format_time_left
from cytoloop.training.callbacks.step_timer import StepTimer

log = logging.getLogger(__name__)


class Progress(Callback):
    """Report loss, scores, learning rate, speed, waiting for data and memory.

    *Terminal*: a bar, and a log line for each new best score. Without a terminal (a log file, a
    cluster job) a log line for each validation.

    *progress.jsonl*: a line every few steps and after each validation, with ``event`` (``start``,
    ``step``, ``validation``, ``end``), ``epoch`` (from 0), ``epochs`` (their number, None where the
    budget is in minutes or steps), ``step``, ``seconds`` since the start,
    ``spent`` (fraction of the budget), ``seconds_left``, ``data_wait`` (fraction of the time spent
    waiting for batches), ``loss`` and ``dice`` of the step's patches, ``lr``, and the ``scores`` of
    a validation. A resumed run appends to the file.

    *Loggers*: ``train/lr`` with the steps. After each epoch ``train/data_wait``,
    ``system/patches_per_s`` (validation not counted), ``system/memory_peak_gib`` (peak of this
    process so far) and ``system/gpu_memory_peak_gib`` (peak that torch allocated in this epoch).

    Lightning's `LearningRateMonitor`, `ThroughputMonitor` and `DeviceStatsMonitor` cannot replace
    it: they write to loggers only, and none measures waiting for data or the process's memory.

    Parameters
    ----------
    path : str or Path
        The file ``progress.jsonl``.
    monitor : str
        The score that selects the best checkpoint.
    mode : str
        ``max`` if a high score is good, else ``min``.
    every_n_steps : int
        Steps between two lines of the file.
    """

    def __init__(
        self,
        path: str | Path,
        monitor: str = "val/dice",
        mode: str = "max",
        every_n_steps: int = 10,
    ) -> None:
        self.path = Path(path)
        self.monitor = monitor
        self.mode = mode
        self.every_n_steps = every_n_steps
        self.bar = ProgressBar()
        self.timer = StepTimer()
        self._best: float | None = None
        self._smooth = {"loss": math.nan, "dice": math.nan}  # of the training patches
        self._started = 0.0
        self._spent_before = 0.0  # fraction of the budget, by the run that is resumed
        self._written_step = 0
        self._epoch_patches = 0
        self._epoch_started = 0.0  # of the timer's total

    def state_dict(self) -> dict[str, Any]:
        """Return the best score, for a resumed run."""
        return {"best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best score of the run that is resumed."""
        self._best = state_dict.get("best")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the bar and write the first line."""
        self._started = time.monotonic()
        self._spent_before = _spent(pl_module)
        if trainer.is_global_zero:
            self.bar.start()
        self._write(trainer, pl_module, "start")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start to measure the epoch."""
        self._epoch_patches, self._epoch_started = 0, self.timer.total
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, *args: Any
    ) -> None:
        """Start to measure the step."""
        self.timer.start_step()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *args: Any
    ) -> None:
        """Report the step."""
        self.timer.end_step()
        self._epoch_patches += _count_patches(batch)
        rate = float(trainer.optimizers[0].param_groups[0]["lr"])
        pl_module.log("train/lr", rate, on_step=True, on_epoch=False)
        found = outputs if isinstance(outputs, dict) else {"loss": outputs}
        if self.bar.is_shown and found.get("loss") is not None:
            for name, before in self._smooth.items():
                if found.get(name) is not None:
                    new = float(found[name])
                    self._smooth[name] = new if math.isnan(before) else 0.95 * before + 0.05 * new
            self._draw(trainer, pl_module, "training")
        due = trainer.global_step % self.every_n_steps == 0
        if due and trainer.global_step != self._written_step:  # a step may take several batches
            self._written_step = trainer.global_step
            names = [name for name in ("loss", "dice") if found.get(name) is not None]
            facts = {name: float(found[name]) for name in names}
            self._write(trainer, pl_module, "step", **facts, lr=rate)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log speed, waiting and memory of the epoch."""
        metrics = {
            "train/data_wait": self.timer.data_wait,
            "system/memory_peak_gib": _peak_memory() / 2**30,
        }
        if (seconds := self.timer.total - self._epoch_started) > 0:
            metrics["system/patches_per_s"] = self._epoch_patches / seconds
        if torch.cuda.is_available():
            metrics["system/gpu_memory_peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
        pl_module.log_dict(metrics, on_step=False, on_epoch=True)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop to measure, and show the new activity."""
        self.timer.pause()
        if self.bar.is_shown:
            self._draw(trainer, pl_module, "validating")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the scores."""
        if trainer.sanity_checking:
            return
        scores = {k: float(v) for k, v in trainer.callback_metrics.items() if "val/" in k}
        self._write(trainer, pl_module, "validation", scores=scores)
        if (score := trainer.callback_metrics.get(self.monitor)) is not None:
            self._log_score(trainer, pl_module, float(score))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the last line and remove the bar."""
        self._write(trainer, pl_module, "end")
        self.bar.stop()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Remove the bar, so that the error can be read."""
        self.bar.stop()

    def _log_score(self, trainer: Trainer, pl_module: LightningModule, score: float) -> None:
        """Log a line if the score is the best so far, or if there is no bar."""
        best = self._best is None or (score > self._best) == (self.mode == "max")
        if best:
            self._best = score
        if best or not self.bar.is_shown:
            log.info(
                "epoch %s  step %d  %s %.4f%s  %s",
                _epoch(trainer),
                trainer.global_step,
                self.monitor,
                score,
                " (best)" if best else "",
                format_time_left(self._seconds_left(pl_module)),
            )

    def _draw(self, trainer: Trainer, pl_module: LightningModule, activity: str) -> None:
        """Redraw the bar."""
        facts = [
            format_time_left(self._seconds_left(pl_module)),
            f"epoch {_epoch(trainer)}",
            f"step {trainer.global_step}",
            *(self._both(trainer, name) for name in self._smooth),
            "" if self._best is None else f"best {self.monitor} {self._best:.3f}",
            f"data wait {self.timer.data_wait:.0%}",
        ]
        self.bar.update(activity, _spent(pl_module), facts)

    def _both(self, trainer: Trainer, name: str) -> str:
        """Return the training's and the validation's loss or Dice, as far as they are known."""
        valid = trainer.callback_metrics.get(f"val/{name}")
        values = [self._smooth[name], math.nan if valid is None else float(valid)]
        if all(map(math.isnan, values)):
            return ""
        training, validation = ("-" if math.isnan(one) else f"{one:.3f}" for one in values)
        return f"{name} {training} (val {validation})"

    def _write(
        self, trainer: Trainer, pl_module: LightningModule, event: str, **facts: Any
    ) -> None:
        """Append a line to the file."""
        if not trainer.is_global_zero:
            return
        left = self._seconds_left(pl_module)
        line = {
            "event": event,
            "epoch": trainer.current_epoch,
            "epochs": _last_epoch(trainer),
            "step": trainer.global_step,
            "seconds": round(time.monotonic() - self._started, 1),
            "spent": round(_spent(pl_module), 4),
            "seconds_left": None if left is None else round(left, 1),
            "data_wait": round(self.timer.data_wait, 4),
            **{name: _to_json(value) for name, value in facts.items()},
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _seconds_left(self, pl_module: LightningModule) -> float | None:
        """Return the estimated time until the budget is spent; None before the first step."""
        spent = _spent(pl_module)
        done = spent - self._spent_before
        return (time.monotonic() - self._started) * (1 - spent) / done if done > 0 else None


def _spent(pl_module: LightningModule) -> float:
    """Return the fraction of the training budget that is used up, 0 to 1.

    A module of another library has no budget: the fraction of its epochs is returned.
    """
    if hasattr(pl_module, "budget_spent"):
        return float(pl_module.budget_spent())  # type: ignore[operator]
    trainer = pl_module.trainer
    epochs, batches = trainer.max_epochs or -1, trainer.num_training_batches
    if epochs < 1 or not math.isfinite(batches) or batches < 1:
        return 0.0
    steps = trainer.fit_loop.total_batch_idx + 1
    return min(max(steps / (epochs * batches), 0.0), 1.0)


def _count_patches(batch: Any) -> int:
    """Return the number of patches of a batch: the length of its first tensor."""
    tensors = batch.values() if isinstance(batch, dict) else batch
    return next((len(one) for one in tensors if isinstance(one, torch.Tensor) and one.ndim), 1)


def _epoch(trainer: Trainer) -> str:
    """Return the number of the epoch from 1, and of the last epoch if it is known."""
    last = _last_epoch(trainer)
    return f"{trainer.current_epoch + 1}" + (f"/{last}" if last else "")


def _last_epoch(trainer: Trainer) -> int | None:
    """Return the number of epochs, None where the budget is in minutes or steps."""
    epochs = trainer.max_epochs
    return epochs if epochs and epochs > 0 else None


def _to_json(value: Any) -> Any:
    """Return a value that JSON can hold: NaN and infinity become None."""
    if isinstance(value, dict):
        return {name: _to_json(item) for name, item in value.items()}
    return value if not isinstance(value, float) or math.isfinite(value) else None


def _peak_memory() -> float:
    """Return the largest size of this process so far, in bytes."""
    try:
        import resource
    except ImportError:  # Windows
        return float(psutil.Process().memory_info().peak_wset)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024)
