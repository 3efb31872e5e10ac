"""Waiting: how much of the training time passes until the next batch is there."""

from __future__ import annotations

import time


class DataTimer:
    """Measures the share of time between batches, validation left out.

    Call `batch_starts` and `batch_ends` around each training step, and `pause` where something
    else than loading comes between two steps.
    """

    def __init__(self) -> None:
        self.waited = 0.0
        self.worked = 0.0
        self._since: float | None = None

    def batch_starts(self) -> None:
        """Count what has passed as waiting."""
        now = time.perf_counter()
        if self._since is not None:
            self.waited += now - self._since
        self._since = now

    def batch_ends(self) -> None:
        """Count what has passed as work."""
        now = time.perf_counter()
        if self._since is not None:
            self.worked += now - self._since
        self._since = now

    def pause(self) -> None:
        """Count nothing until the next batch starts."""
        self._since = None

    @property
    def share(self) -> float:
        """Share of the time that was waited, 0 to 1; 0 before the first step."""
        total = self.waited + self.worked
        return self.waited / total if total else 0.0
