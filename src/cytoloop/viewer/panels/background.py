"""Work in a thread, with its result handed to the thread of the window."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from qtpy.QtCore import QObject, Signal

from cytoloop.cli.reports import find_user_error

log = logging.getLogger(__name__)

Report = Callable[[str], None]


class Background(QObject):
    """Runs functions one after the other in a thread.

    Parameters
    ----------
    report : callable
        Takes the text of an error: what was found and how to repair it.
    parent : QObject, optional
    """

    _done = Signal(object, object)
    started = Signal()
    """Work was begun that the user asked for."""

    def __init__(self, report: Report, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._report = report
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cytoloop")
        self._waiting, self._is_closed = 0, False
        self._done.connect(self._deliver)

    @property
    def is_busy(self) -> bool:
        """Whether work is under way, or its result is still to be handed over."""
        return self._waiting > 0

    def run(
        self,
        work: Callable[[], Any],
        then: Callable[[Any], None] | None = None,
        failed: Report | None = None,
    ) -> None:
        """Call `work` in the thread, then `then` with its result in the thread of the window.

        Parameters
        ----------
        work : callable
            Touches no widget and no layer.
        then : callable, optional
        failed : callable, optional
            Takes the text of an error instead of `report`.
        """
        if not self._is_closed:
            self.started.emit()
            self.run_unasked(work, then, failed)

    def run_unasked(
        self,
        work: Callable[[], Any],
        then: Callable[[Any], None] | None = None,
        failed: Report | None = None,
    ) -> None:
        """Call `work` as `run` does, for what the panels do by themselves: errors stay shown."""
        if not self._is_closed:
            self._waiting += 1
            self._thread.submit(self._call, work, then, failed)

    def close(self) -> None:
        """End the thread after its present work."""
        self._is_closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _call(
        self, work: Callable[[], Any], then: Callable[[Any], None] | None, failed: Report | None
    ) -> None:
        try:
            result = work()
            outcome: Callable[[], None] = lambda: then(result) if then else None  # noqa: E731
        except Exception as error:
            text = error_text(error)
            outcome = lambda: (failed or self._report)(text)  # noqa: E731
        try:
            self._done.emit(outcome, None)
        except RuntimeError:  # the window was closed meanwhile
            log.debug("a result came after the window was closed")

    def _deliver(self, outcome: Callable[[], None], _: object) -> None:
        self._waiting -= 1
        if self._is_closed:  # nobody is there to see it
            return
        try:
            outcome()
        except Exception as error:
            self._report(error_text(error))


def error_text(error: Exception) -> str:
    """Return an error in words; a traceback goes to the log only."""
    found = find_user_error(error)
    if found is not None:
        return found.render()
    if isinstance(error, OSError):
        return f"{error.filename or 'A file'}: {error.strerror or error}"
    log.error("a bug of CytoLoop", exc_info=error)
    return f"A bug of CytoLoop: {type(error).__name__}: {error}. The log has the details."


def in_words(report: Report, function: Callable[..., Any]) -> Callable[..., None]:
    """Return a slot that reports an error of `function` in words instead of raising it."""

    def call(*arguments: Any) -> None:
        try:
            function(*arguments)
        except Exception as error:
            report(error_text(error))

    return call
