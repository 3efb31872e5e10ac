"""A thread that watches the processes which Lightning started for a training."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

from lightning import Trainer

from cytoloop.terminal import stderr_console

_POLL = 0.2  # seconds
_EXIT_TIMEOUT = 60.0  # seconds, for this process to raise its own error
_USER_ERROR = 2  # exit status


class Watch(threading.Thread):
    """Watches the processes that Lightning started.

    Lightning's observer kills this process at most 5 s after another process ended, so that no
    error is shown and the MLflow run stays open. The observer ends when it has no processes, so
    this thread takes them from Lightning's launcher.

    Parameters
    ----------
    trainer : Trainer

    Attributes
    ----------
    processes : list of subprocess.Popen
        Process 1 and so on.
    """

    def __init__(self, trainer: Trainer) -> None:
        super().__init__(daemon=True, name="watch-processes")
        self.processes: list[Any] = []
        self._launcher: Any = trainer.strategy.launcher
        self._ended = threading.Event()

    def run(self) -> None:
        """Poll the processes; end this one if it hangs after another process has failed."""
        while not self._ended.wait(_POLL):
            while self._launcher.procs:
                self.processes.append(self._launcher.procs.pop(0))
            if (problem := self.problem()) and not self._ended.wait(_EXIT_TIMEOUT):
                # this process hangs in a library and cannot raise the error
                stderr_console.print(f"ModelError: {problem}", style="red", markup=False)
                self._kill()
                os._exit(_USER_ERROR)

    def problem(self) -> str | None:
        """Return the failure of a process as text, None if there is none."""
        codes = {rank: p.poll() for rank, p in enumerate(self.processes, start=1)}
        failed = sorted((code < 0, rank) for rank, code in codes.items() if code)
        if not failed:
            return None
        by_signal, rank = max(failed, key=lambda one: (one[0], -one[1]))
        code = codes[rank]
        text = f"signal {signal.Signals(-code).name}" if by_signal else f"exit status {code}"
        return f"process {rank} ended with {text}"

    def end(self) -> None:
        """Stop watching, and kill the processes that still run."""
        self._ended.set()
        if self.is_alive():
            self.join()
        self._kill()

    def _kill(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
