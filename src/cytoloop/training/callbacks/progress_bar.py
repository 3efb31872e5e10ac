"""The progress bar of a training: one line that is redrawn at the bottom of the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as RichProgress

from cytoloop.terminal import can_show_progress, stderr_console

_ACTIVITY_WIDTH, _BAR_WIDTH = len("validating"), 16
_GAPS = 3  # columns between activity, bar and facts


class ProgressBar:
    """Activity, bar and a row of facts; shown on a terminal and in Jupyter with ipywidgets.

    Lightning's `RichProgressBar` counts batches of an epoch. This bar shows the fraction of the
    whole budget, which may be minutes, and log lines appear above it.
    """

    def __init__(self) -> None:
        self._progress: RichProgress | None = None
        self._task = TaskID(0)

    @property
    def is_shown(self) -> bool:
        """Whether the bar is on the terminal now."""
        return self._progress is not None

    def start(self) -> None:
        """Show an empty bar."""
        if not can_show_progress():
            return
        self._progress = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=_BAR_WIDTH),
            TextColumn("{task.fields[facts]}"),
            console=stderr_console,
            transient=True,
        )
        self._task = self._progress.add_task("training", total=1.0, facts="")
        self._progress.start()

    def update(self, activity: str, completed: float, facts: Sequence[str]) -> None:
        """Redraw the bar.

        Parameters
        ----------
        activity : str
            ``training`` or ``validating``.
        completed : float
            Fraction of the budget, 0 to 1.
        facts : sequence of str
            The most important first: the last ones are left out on a narrow terminal.
        """
        if self._progress is None:
            return
        room = max(stderr_console.width - _ACTIVITY_WIDTH - _BAR_WIDTH - _GAPS, 0)
        shown = [fact for fact in facts if fact]
        while len("  ".join(shown)) > room:  # rich would shorten the bar instead
            shown.pop()
        self._progress.update(
            self._task,
            completed=completed,
            description=f"{activity:<{_ACTIVITY_WIDTH}}",
            facts="  ".join(shown),
        )

    def stop(self) -> None:
        """Remove the bar from the terminal."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def format_time_left(seconds: float | None) -> str:
    """Return a time as ``40 s left``, ``12 min left`` or ``1.5 h left``; empty for None."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{seconds:.0f} s left"
    minutes = round(seconds / 60)
    return f"{minutes} min left" if minutes < 90 else f"{minutes / 60:.1f} h left"
