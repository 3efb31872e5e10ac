"""Changes of napari's layers in steps: the window answers in between."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator
from typing import Any

from qtpy.QtCore import QObject, QTimer

from cytoloop.viewer.panels.background import Report, error_text

Steps = Generator[None, None, Any]
"""Changes layers, a part before each `yield`."""
_SLICE_S = 0.03
"""Seconds of steps without a look at the window's events; one step may take longer."""


class Display(QObject):
    """Changes layers in the thread of the window, a few steps at a time.

    Parameters
    ----------
    report : callable
        Takes the text of an error.
    parent : QObject
    """

    def __init__(self, report: Report, parent: QObject) -> None:
        super().__init__(parent)
        self._report = report
        self._waiting: deque[tuple[Steps, Callable[[], None] | None]] = deque()
        self._timer = QTimer(self)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._work)

    @property
    def is_busy(self) -> bool:
        """Whether steps are left."""
        return bool(self._waiting)

    def show(self, steps: Steps, then: Callable[[], None] | None = None) -> None:
        """Show something else: steps that are left are dropped. Call `then` after the last one."""
        self._waiting.clear()
        self.add(steps, then)

    def add(self, steps: Steps, then: Callable[[], None] | None = None) -> None:
        """Change what is shown, after the steps that are left. Call `then` after the last one."""
        self._waiting.append((steps, then))
        self._timer.start()

    def close(self) -> None:
        """Drop the steps that are left."""
        self._waiting.clear()
        self._timer.stop()

    def _work(self) -> None:
        end = time.monotonic() + _SLICE_S
        while self._waiting and time.monotonic() < end:
            now = self._waiting[0]
            try:
                self._step(*now)
            except Exception as error:
                self._drop(now)
                self._report(error_text(error))
        if not self._waiting:
            self._timer.stop()

    def _step(self, steps: Steps, then: Callable[[], None] | None) -> None:
        try:
            next(steps)
        except StopIteration:
            self._drop((steps, then))
            if then is not None:
                then()

    def _drop(self, one: tuple[Steps, Callable[[], None] | None]) -> None:
        if self._waiting and self._waiting[0][0] is one[0]:  # a step may show something else
            self._waiting.popleft()
