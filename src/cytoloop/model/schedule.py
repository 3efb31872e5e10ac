"""Learning rate by the share of the budget that is spent, be the budget steps or minutes."""

from __future__ import annotations

import math
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class WarmupCosine(LRScheduler):
    """Linear warm-up, then a half cosine down to `final` times the highest rate.

    Parameters
    ----------
    optimizer : Optimizer
        Its own rate is the highest one.
    warmup : float
        Share of the budget, in [0, 1).
    final : float
        Last rate as a share of the highest.
    """

    def __init__(
        self, optimizer: Optimizer, warmup: float = 0.05, final: float = 0.01, **kwargs: Any
    ) -> None:
        self.warmup = warmup
        self.final = final
        self.spent = 0.0
        super().__init__(optimizer, **kwargs)

    def factor(self) -> float:
        """Return the present rate as a share of the highest."""
        if self.spent < self.warmup:
            return 0.1 + 0.9 * self.spent / self.warmup
        done = min((self.spent - self.warmup) / (1.0 - self.warmup), 1.0)
        return self.final + (1.0 - self.final) * 0.5 * (1.0 + math.cos(math.pi * done))

    def get_lr(self) -> list[Any]:
        """Return the rate of each parameter group."""
        return [base * self.factor() for base in self.base_lrs]
