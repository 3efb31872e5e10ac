"""A verb as a process of its own: it goes on when napari is closed, and its output is kept."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from cytoloop.errors import OutputError
from cytoloop.viewer.session.commands import Words, command_text

FOLDER = "viewer"
"""Sub-folder of ``runs/`` for the output of processes."""


class VerbProcess:
    """`cytoloop VERB`, started by a panel.

    Parameters
    ----------
    verb : str
    words : list of str
        ``key=value``, as typed.
    folder : Path
        Working folder.

    Raises
    ------
    OutputError
        The process cannot be started, or its log cannot be written.
    """

    def __init__(self, verb: str, words: Words, folder: Path | None = None) -> None:
        self.verb = verb
        self.words = words
        self.folder = (folder or Path.cwd()).absolute()
        self.started = time.monotonic()
        self.log = self.folder / "runs" / FOLDER / f"{time.time_ns()}_{verb}.log"
        detached: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            detached = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("wb") as output:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "cytoloop", verb, *words],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=self.folder,
                    env=environment,
                    **detached,
                )
        except OSError as error:
            raise OutputError(
                str(self.log.parent), f"cannot be written to: {error.strerror}", "Change folder."
            ) from error

    @property
    def command(self) -> str:
        """The command as a user types it."""
        return command_text(self.verb, self.words)

    @property
    def status(self) -> int | None:
        """Exit status, None while the process runs."""
        return self._process.poll()

    def output(self) -> str:
        """Return what the process has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def message(self) -> str:
        """Return the last lines of the output: of a failed process, its error."""
        lines = [line.rstrip() for line in self.output().splitlines() if line.strip()]
        return "\n".join(lines[-12:])

    def stop(self) -> None:
        """Ask the process to stop, as Ctrl-C does; it keeps what it has finished."""
        if self.status is not None:
            return
        children = _children(self._process.pid) if self.verb == "ui" else []
        self._process.terminate()
        for child in children:  # a server does not end with the verb that started it
            with contextlib.suppress(psutil.Error):
                child.terminate()

    def wait(self, seconds: float) -> int:
        """Wait for the end and return the exit status.

        Raises
        ------
        subprocess.TimeoutExpired
            The process runs longer.
        """
        return self._process.wait(seconds)


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []
