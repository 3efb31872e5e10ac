"""What a training needs of its machine, as metrics: speed, learning rate, memory."""

from __future__ import annotations

import sys
from typing import Any

import psutil
import torch
from lightning import Callback, LightningModule, Trainer

from cytoloop.training.callbacks.data_timer import DataTimer


class SystemMetrics(Callback):
    """Log ``train/lr`` with the steps, and after each epoch speed and memory.

    ``system/patches_per_s`` counts the time of steps and of waiting for batches, not that of
    validation; ``system/memory_peak_gib`` is the largest size of this process so far,
    ``system/gpu_memory_peak_gib`` what torch had in use at most in this epoch.
    """

    def __init__(self) -> None:
        self._wait = DataTimer()
        self._patches = 0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count."""
        self._wait, self._patches = DataTimer(), 0
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, *args: Any
    ) -> None:
        """Stop waiting."""
        self._wait.batch_starts()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *args: Any
    ) -> None:
        """Count the patches of a step and log its learning rate."""
        self._wait.batch_ends()
        self._patches += len(batch["image"])
        rate = float(trainer.optimizers[0].param_groups[0]["lr"])
        pl_module.log("train/lr", rate, on_step=True, on_epoch=False)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do not count validation."""
        self._wait.pause()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log speed and memory."""
        seconds = self._wait.waited + self._wait.worked
        facts = {"system/memory_peak_gib": _peak_memory() / 2**30}
        if seconds > 0:
            facts["system/patches_per_s"] = self._patches / seconds
        if torch.cuda.is_available():
            facts["system/gpu_memory_peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
        pl_module.log_dict(facts, on_step=False, on_epoch=True)


def _peak_memory() -> float:
    """Return the largest size of this process so far, in bytes."""
    try:
        import resource
    except ImportError:  # Windows
        return float(psutil.Process().memory_info().peak_wset)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(most if sys.platform == "darwin" else most * 1024)
