"""A process that has imported everything and forks a child for each command that it gets.

A child runs one command of CytoLoop and may be killed before its N-th write: its N-th opening of a
file to write, rename, removal or new folder below the working folder. So kills are spread over the
phases of a command, without sleeping.

Requests and answers are lines of JSON on standard input and output:
``{"words": [...], "cwd": ..., "env": {...}, "kill_at": N or null, "limit": bytes or null}`` ->
``{"status": exit status or -9, "writes": N, "text": standard error}``.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

_WRITES = {"os.rename": 1, "os.remove": 0, "os.mkdir": 0, "os.rmdir": 0, "os.truncate": 0}
"""Audit events of writes, and the position of the path that is changed."""


class Writes:
    """Counts the writes below a folder, and kills this process before one of them."""

    def __init__(self, folder: Path, kill_at: int | None, counter: int) -> None:
        self.prefix = f"{folder.resolve()}/"
        self.kill_at = kill_at
        self.counter = counter
        self.count = 0

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        """Handle an audit event."""
        if event == "open":
            path, mode, flags = args
            if not (isinstance(mode, str) and set(mode) & set("wax+")) and not flags & os.O_WRONLY:
                return
        elif event in _WRITES:
            path = args[_WRITES[event]]
        else:
            return
        if not isinstance(path, (str, bytes, os.PathLike)):
            return
        if not os.path.abspath(os.fsdecode(path)).startswith(self.prefix):
            return
        self.count += 1
        os.pwrite(self.counter, b"%12d" % self.count, 0)
        if self.count == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


def run_command(request: dict[str, Any]) -> dict[str, Any]:
    """Run a command in a child and return what became of it."""
    with tempfile.TemporaryFile() as counter, tempfile.TemporaryFile() as output:
        child = os.fork()
        if child == 0:
            os._exit(_run_in_child(request, counter.fileno(), output.fileno()))
        _, status = os.waitpid(child, 0)
        output.seek(0)
        text = output.read().decode(errors="replace")
        counter.seek(0)
        writes = int(counter.read() or 0)
    return {"status": os.waitstatus_to_exitcode(status), "writes": writes, "text": text}


def _run_in_child(request: dict[str, Any], counter: int, output: int) -> int:
    os.dup2(output, 1)
    os.dup2(output, 2)
    folder = Path(request["cwd"])
    os.chdir(folder)
    os.environ.update(request["env"])
    sys.addaudithook(Writes(folder, request["kill_at"], counter))
    if limit := request["limit"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    from cytoloop.__main__ import main

    try:
        return main(request["words"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def serve() -> None:
    """Import what commands need, then answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import hydra  # noqa: F401
    import lightning  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import mlflow  # noqa: F401
    import skimage.measure  # noqa: F401

    import cytoloop.cli.app
    import cytoloop.curation
    import cytoloop.evaluation
    import cytoloop.inference.predict_rows
    import cytoloop.rounds.run_training  # noqa: F401

    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin:
        answers.write(json.dumps(run_command(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
