"""Learning-rate schedule over the training budget, in steps, epochs or minutes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from cytoloop.errors import ConfigError

SHAPES: dict[str, Callable[[float], float]] = {
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
    "poly": lambda done: (1.0 - done) ** 0.9,  # nnU-Net (Isensee et al. 2021)
    "constant": lambda done: 1.0,
}
"""Decay of the rate from 1 to 0, by the fraction of the budget after the warm-up that is done."""


class BudgetSchedule(LRScheduler):
    """Linear warm-up, then a decay to ``end_factor`` times the highest rate.

    Set `spent` before each `step`: the fraction of the budget that is used up, 0 to 1.

    Parameters
    ----------
    optimizer : Optimizer
        Its learning rate is the highest rate of the schedule.
    shape : str
        Shape of the decay, a key of `SHAPES`.
    warmup : float
        Fraction of the budget for the warm-up, in [0, 1).
    start_factor, end_factor : float
        First and last rate as a fraction of the highest, in [0, 1].
    **kwargs
        Passed on to torch's ``LRScheduler``.

    Raises
    ------
    ConfigError
        Lists every value out of range.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        shape: str = "cosine",
        warmup: float = 0.05,
        start_factor: float = 0.1,
        end_factor: float = 0.01,
        **kwargs: Any,
    ) -> None:
        problems = [] if shape in SHAPES else [f"shape is {shape}, expected {', '.join(SHAPES)}"]
        if not 0 <= warmup < 1:
            problems.append(f"warmup is {warmup}, expected a fraction of the budget, 0 to below 1")
        problems += [
            f"{name} is {value}, expected a fraction of the highest rate, 0 to 1"
            for name, value in (("start_factor", start_factor), ("end_factor", end_factor))
            if not 0 <= value <= 1
        ]
        if problems:
            raise ConfigError("model.lr_scheduler", problems, "See configs/schedule/.")
        self.shape = shape
        self.warmup = warmup
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.spent = 0.0
        super().__init__(optimizer, **kwargs)

    def factor(self) -> float:
        """Return the current rate as a fraction of the highest rate."""
        if self.spent < self.warmup:
            return self.start_factor + (1.0 - self.start_factor) * self.spent / self.warmup
        done = min((self.spent - self.warmup) / (1.0 - self.warmup), 1.0)
        return self.end_factor + (1.0 - self.end_factor) * SHAPES[self.shape](done)

    def get_lr(self) -> list[Any]:
        """Return the rate of each parameter group."""
        return [base * self.factor() for base in self.base_lrs]
