"""The terminal: one console for events and progress bars, one for results.

Only CytoLoop's own log records reach the terminal, one line each; everything else (readers
probing files, Lightning's advice, warnings) goes to the log file of the run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from cytoloop.redact import redact_text

stderr_console = Console(stderr=True, highlight=False)
"""Progress bars and one line per event (standard error)."""

stdout_console = Console(highlight=False)
"""Tables: what a verb was run for (standard output)."""

_STYLES = {logging.WARNING: "yellow", logging.ERROR: "bold red", logging.CRITICAL: "bold red"}


class TerminalHandler(logging.Handler):
    """Show CytoLoop's own records, one line each, above a running progress bar."""

    def __init__(self) -> None:
        super().__init__()
        self.addFilter(lambda record: record.name.split(".")[0] == "cytoloop")

    def emit(self, record: logging.LogRecord) -> None:
        """Print the message without time and level: the log file has those."""
        text = redact_text(record.getMessage())
        if record.levelno == logging.WARNING:
            text = f"warning: {text}"
        stderr_console.print(Text(text, style=_STYLES.get(record.levelno, "")), soft_wrap=True)


class FileFormatter(logging.Formatter):
    """Write records, with their tracebacks, without the passwords that URLs in them hold."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a record."""
        return redact_text(super().format(record))


def quiet_libraries() -> None:
    """Send what libraries print through the log file; call it once they are imported.

    Lightning gives its loggers stream handlers of their own and CytoDL stops their records
    from propagating; both are undone here.
    """
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "mlflow", "alembic"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


@contextmanager
def progress_bar(title: str, total: int, shown: bool) -> Iterator[Callable[[], None]]:
    """Show a bar on the terminal while the block runs; what it yields moves it on by one."""
    if not shown:
        yield lambda: None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=stderr_console, transient=True, disable=not stderr_console.is_terminal
    ) as progress:
        task = progress.add_task("", total=total)
        yield lambda: progress.advance(task)
