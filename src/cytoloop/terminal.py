"""The terminal: one console for events and progress bars, one for results.

The terminal shows only CytoLoop's own log records, one line each. Records of other libraries go to
the log file of the run.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from cytoloop.redact import redact_text

stderr_console = Console(stderr=True, highlight=False)
"""Progress bars, and one line per event (standard error)."""

stdout_console = Console(highlight=False)
"""Result tables (standard output)."""

LIBRARY_LOGGERS = ("lightning", "lightning.pytorch", "lightning.fabric", "mlflow", "alembic")
"""Loggers of libraries whose handlers `quiet_libraries` removes."""

_STYLES = {logging.WARNING: "yellow", logging.ERROR: "bold red", logging.CRITICAL: "bold red"}


class TerminalHandler(logging.Handler):
    """Log handler that prints CytoLoop's own records above a running progress bar."""

    def __init__(self) -> None:
        super().__init__()
        self.addFilter(lambda record: record.name.split(".")[0] == "cytoloop")

    def emit(self, record: logging.LogRecord) -> None:
        """Print the message without time and level; the log file has both."""
        text = redact_text(record.getMessage())
        if record.levelno == logging.WARNING:
            text = f"warning: {text}"
        stderr_console.print(Text(text, style=_STYLES.get(record.levelno, "")), soft_wrap=True)


class FileFormatter(logging.Formatter):
    """Log formatter that removes passwords from records and their tracebacks."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        return redact_text(super().format(record))


def quiet_libraries() -> None:
    """Send the log records of libraries to the log file only; call it after importing them.

    Lightning adds stream handlers to its loggers, and CytoDL stops their propagation. Both are
    undone here.
    """
    for name in LIBRARY_LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


def can_show_progress() -> bool:
    """Return whether a progress bar can be drawn: on a terminal, or in Jupyter with ipywidgets."""
    if stderr_console.is_jupyter:
        return importlib.util.find_spec("ipywidgets") is not None
    return stderr_console.is_terminal


@contextmanager
def progress_bar(title: str, total: int, visible: bool) -> Iterator[Callable[[], None]]:
    """Show a progress bar while the block runs; yield a function that advances it by one."""
    if not visible:
        yield lambda: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (title, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=stderr_console, transient=True, disable=not can_show_progress()
    ) as progress:
        task = progress.add_task("", total=total)
        yield lambda: progress.advance(task)
