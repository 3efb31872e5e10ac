"""Time of training steps, and time spent waiting for their batches."""

from __future__ import annotations

import time


class StepTimer:
    """Measures steps and the waiting between them; validation is left out.

    Call `start_step` and `end_step` around each training step. Call `pause` before anything
    between two steps that is not data loading.

    Attributes
    ----------
    waiting, working : float
        Seconds so far, between steps and inside them.
    """

    def __init__(self) -> None:
        self.waiting = 0.0
        self.working = 0.0
        self._since: float | None = None

    def start_step(self) -> None:
        """Count the time since the last step as waiting."""
        self.waiting += self._lap()

    def end_step(self) -> None:
        """Count the time since the start of the step as work."""
        self.working += self._lap()

    def pause(self) -> None:
        """Count nothing until the next step starts."""
        self._since = None

    @property
    def total(self) -> float:
        """Seconds of waiting and work."""
        return self.waiting + self.working

    @property
    def data_wait(self) -> float:
        """Fraction of the time spent waiting, 0 to 1; 0 before the first step."""
        return self.waiting / self.total if self.total else 0.0

    def _lap(self) -> float:
        """Return the seconds since the last call; 0 at the first one and after a pause."""
        now = time.perf_counter()
        since, self._since = self._since, now
        return 0.0 if since is None else now - since
