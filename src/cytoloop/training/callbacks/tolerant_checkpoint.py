"""Which checkpoint of a training is kept: the latest of those that are as good as the best.

A score of few validation images goes up and down by chance, and the highest of many is often an
early one. As the learning rate falls the weights settle: of two that score alike take the later.
"""

from __future__ import annotations

import math
from typing import Any

from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor


class TolerantModelCheckpoint(ModelCheckpoint):
    """Lightning's checkpoint of the best score, for which a little below the best is as good.

    Parameters
    ----------
    tolerance : float
        Share of what the highest score lacks to 1, 0 or more: with 0.1 a score of 0.56 is as good
        as one of 0.6, and 0.945 as 0.95. With ``mode=min`` (a loss) only the best is the best.
    **kwargs
        Of Lightning's ``ModelCheckpoint``.
    """

    def __init__(self, tolerance: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tolerance = float(tolerance)
        self._highest = -math.inf

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Tell whether a score is kept."""
        if self.mode != "max" or current is None or not math.isfinite(current):
            return super().check_monitor_top_k(trainer, current)
        score = float(current)
        self._highest = max(self._highest, score)
        kept = score >= self._highest - self.tolerance * max(1 - self._highest, 0)
        return trainer.strategy.reduce_boolean_decision(kept)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run must remember: the highest score as well."""
        return {**super().state_dict(), "highest": self._highest}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the scores of the run that is resumed."""
        super().load_state_dict(state_dict)
        self._highest = float(state_dict["highest"])
