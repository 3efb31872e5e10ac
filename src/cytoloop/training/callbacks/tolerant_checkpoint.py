"""Select the best checkpoint: the latest one whose score is close enough to the best.

The score of a few validation images fluctuates, and the highest of many scores often comes early.
As the learning rate falls the weights settle, so the later of two similar scores is preferred.
"""

from __future__ import annotations

import math
from typing import Any

from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor


class TolerantModelCheckpoint(ModelCheckpoint):
    """Keep the latest checkpoint whose score is at least best - tolerance * (1 - best).

    Lightning's `ModelCheckpoint` keeps the highest score only.

    Parameters
    ----------
    tolerance : float
        Fraction of the distance between the best score and 1, 0 or more. With 0.1 a score of 0.56
        is as good as 0.6, and 0.945 as good as 0.95. It has no effect with ``mode=min`` (a loss).
    **kwargs
        Passed on to Lightning's `ModelCheckpoint`.
    """

    def __init__(self, tolerance: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tolerance = float(tolerance)
        self._highest = -math.inf

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Return whether the checkpoint of a score is kept."""
        if self.mode != "max" or current is None or not math.isfinite(current):
            return super().check_monitor_top_k(trainer, current)
        score = float(current)
        self._highest = max(self._highest, score)
        kept = score >= self._highest - self.tolerance * max(1 - self._highest, 0)
        return trainer.strategy.reduce_boolean_decision(kept)

    def state_dict(self) -> dict[str, Any]:
        """Return Lightning's state and the highest score, for a resumed run."""
        return {**super().state_dict(), "highest": self._highest}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the scores of the run that is resumed."""
        super().load_state_dict(state_dict)
        self._highest = float(state_dict["highest"])
