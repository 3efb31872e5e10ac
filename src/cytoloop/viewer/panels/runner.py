"""A verb that runs as a process: button, progress, output, and the end in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QVBoxLayout, QWidget

from cytoloop.errors import CytoloopError
from cytoloop.viewer.panels.background import Background
from cytoloop.viewer.panels.fields import CommandLine, MessageLabel, push_button
from cytoloop.viewer.session.commands import Words, command_text
from cytoloop.viewer.session.process import VerbProcess

_EVERY_MS = 400
Values = Mapping[str, str]
Progress = Callable[[], tuple[int, int]]
"""Returns how many of how many parts are finished; reads files, so it runs in a thread."""


class Runner(QWidget):
    """Start and stop of a verb.

    Parameters
    ----------
    verb : str
    title, help_text : str
        Of the button.
    values : callable
        Returns the values of the fields.
    words : callable
        Makes the words of the command from them, in a thread; raises a `CytoloopError` where
        values are wrong.
    background : Background
    """

    finished = Signal(int)
    """The process has ended, with its exit status.

    `lines` of its output are shown at the end. `answers` are exit statuses that are an answer, not
    an error. `progress` and `prepare` may be set: what counts the finished parts, and what is done
    to the values before the start. Both run in a thread.
    """

    def __init__(
        self,
        verb: str,
        title: str,
        help_text: str,
        values: Callable[[], Values],
        words: Callable[[Values], Words],
        background: Background,
    ) -> None:
        super().__init__()
        self.verb = verb
        self.process: VerbProcess | None = None
        self.lines = 12
        self.answers: tuple[int, ...] = (0,)
        self.progress: Progress | None = None
        self.prepare: Callable[[Values], Values] | None = None
        self._values, self._words = values, words
        self._background = background
        self.start_button = push_button(title, help_text, self.start)
        self.stop_button = push_button("Stop", "Stop it; what is finished stays.", self.stop)
        self.stop_button.setVisible(False)
        self.bar = QProgressBar()
        self.bar.setVisible(False)
        self.command = CommandLine()
        self.message = MessageLabel()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        buttons = QHBoxLayout()
        buttons.addWidget(self.start_button)
        buttons.addWidget(self.stop_button)
        layout.addLayout(buttons)
        for widget in (self.bar, self.message, self.command):
            layout.addWidget(widget)
        self._timer = QTimer(self)
        self._timer.setInterval(_EVERY_MS)
        self._timer.timeout.connect(self._poll)

    @property
    def is_running(self) -> bool:
        """Whether the process runs."""
        return self._timer.isActive()

    def show_command(self) -> None:
        """Show the command line for the present fields; an incomplete form shows none."""
        try:
            values = self._values()
        except CytoloopError:  # for example, no data set is open
            self.command.show_command("")
            return
        self._background.run_unasked(
            lambda: command_text(self.verb, self._words(values)),
            self.command.show_command,
            lambda _: self.command.show_command(""),
        )

    def start(self) -> None:
        """Start the process, or show what is wrong with the fields."""
        if self.is_running:
            return
        try:
            values, prepare = self._values(), self.prepare
        except CytoloopError as error:
            self.message.show_error(error.render())
            return
        self.start_button.setEnabled(False)
        self.message.show_note("starting")

        def launch() -> VerbProcess:
            ready = values if prepare is None else prepare(values)
            return VerbProcess(self.verb, self._words(ready), Path.cwd())

        self._background.run(launch, self._started, self._failed)

    def stop(self) -> None:
        """Stop the process."""
        if self.process is not None:
            self.process.stop()

    def _started(self, process: VerbProcess) -> None:
        self.process = process
        self.command.show_command(process.command)
        self.stop_button.setVisible(True)
        self.bar.setRange(0, 0)
        self.bar.setVisible(True)
        self.message.show_note("working")
        self._timer.start()

    def _failed(self, text: str) -> None:
        self.start_button.setEnabled(True)
        self.message.show_error(text)

    def _poll(self) -> None:
        if not self._background.is_busy:
            self._background.run_unasked(self._look, self._show)

    def _look(self) -> tuple[int | None, str, tuple[int, int]]:
        process = self.process
        if process is None:
            return None, "", (0, 0)
        status = process.status
        done = self.progress() if self.progress is not None else (0, 0)
        return status, "" if status is None else process.message(), done

    def _show(self, seen: tuple[int | None, str, tuple[int, int]]) -> None:
        status, text, (done, total) = seen
        if total:
            self.bar.setRange(0, total)
            self.bar.setValue(done)
            self.message.show_note(f"{done} of {total}")
        if status is None or not self._timer.isActive():
            return
        self._timer.stop()
        self.bar.setVisible(False)
        self.stop_button.setVisible(False)
        self.start_button.setEnabled(True)
        if status in self.answers:
            lines = text.splitlines()
            self.message.show_note("\n".join(lines[len(lines) - min(self.lines, len(lines)) :]))
        elif status == 130 or status < 0:
            self.message.show_note(f"stopped\n{text}")
        else:
            self.message.show_error(text)
        self.finished.emit(status)
