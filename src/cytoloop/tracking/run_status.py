"""The status of trainings, read from the files in their output folders without the MLflow store."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cytoloop.errors import ConfigError, ModelError
from cytoloop.home import expand_home
from cytoloop.tracking.lock import NOTE_FILE, TrainingProcess, find_process, list_processes
from cytoloop.tracking.output_folder import (
    FINISHED_FILE,
    PROGRESS_FILE,
    can_resume,
    read_final_scores,
    read_findings,
    read_run_id,
)
from cytoloop.tracking.resume import list_training_folders


class RunStatus:
    """The status of one training. Call `update` to read what is new.

    Parameters
    ----------
    folder : Path
        Output folder of the training.

    Attributes
    ----------
    process : TrainingProcess or None
        The process that trains.
    last_event : dict
        The last line of ``progress.jsonl``, see
        `cytoloop.training.callbacks.progress.Progress`.
    loss, dice : float
        Of the training patches of the last logged step; NaN before the first.
    validations : list of dict
        Epoch, step and scores of each validation.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: TrainingProcess | None = None
        self.last_event: dict[str, Any] = {}
        self.loss = self.dice = math.nan
        self.validations: list[dict[str, Any]] = []
        self._offset = 0
        self.update()

    def update(self) -> RunStatus:
        """Read the new lines of ``progress.jsonl`` and return self."""
        self.process = find_process(self.folder)
        try:
            with (self.folder / PROGRESS_FILE).open("rb") as file:
                if file.seek(0, os.SEEK_END) < self._offset:  # overwritten by another training
                    self._offset, self.validations = 0, []
                file.seek(self._offset)
                for line in file:
                    if not line.endswith(b"\n"):  # half written; the next update reads it
                        break
                    self._offset += len(line)
                    self._read_event(line)
        except OSError:
            pass
        return self

    def _read_event(self, line: bytes) -> None:
        try:
            event = json.loads(line)
        except ValueError:
            return
        if not isinstance(event, dict):
            return
        self.last_event = event
        if isinstance(event.get("loss"), float):
            self.loss = event["loss"]
        if isinstance(event.get("dice"), float):
            self.dice = event["dice"]
        if event.get("event") == "validation" and isinstance(event.get("scores"), dict):
            self.validations.append(event)

    @property
    def state(self) -> str:
        """``running``, ``finished``, ``stopped`` (can be resumed) or ``ended`` (cannot)."""
        if self.process is not None:
            return "running"
        if (self.folder / FINISHED_FILE).is_file():
            return "finished"
        return "stopped" if can_resume(self.folder) else "ended"

    @property
    def run_id(self) -> str:
        """Id of the MLflow run, "" before the run is open."""
        if self.process is not None and self.process.run_id:
            return self.process.run_id
        return read_run_id(self.folder) or ""

    @property
    def epoch(self) -> int | None:
        """Number of the current or last epoch, counted from 1; None before the first step."""
        if "epoch" not in self.last_event:
            return None
        return int(self.last_event["epoch"]) + (self.last_event.get("event") != "end")

    @property
    def epoch_text(self) -> str:
        """The current epoch, and the last one if it is known: ``3/50``; "" before the first."""
        total = self.last_event.get("epochs")
        return f"{self.epoch or ''}" + (f"/{total}" if self.epoch and total else "")

    @property
    def final_scores(self) -> dict[str, float]:
        """Final scores (name to value), empty before the training has finished."""
        return read_final_scores(self.folder) if self.process is None else {}

    @property
    def findings(self) -> list[dict[str, str]]:
        """Findings of the diagnosis at its end, see `cytoloop.training.diagnosis.Finding`."""
        return read_findings(self.folder) if self.process is None else []

    @property
    def last_change(self) -> float:
        """Time of the last change in the folder, seconds since 1970."""
        files = (self.folder / PROGRESS_FILE, self.folder / NOTE_FILE, self.folder)
        return next((p.stat().st_mtime for p in files if p.exists()), 0.0)

    def best_score(self, name: str = "val/dice") -> float | None:
        """Return the highest value of a score so far, None before the first validation.

        A training that has only a loss, such as CytoDL's: the lowest ``val/loss``.
        """
        highest = max(self._values_of(name), default=None)
        return min(self._values_of("val/loss"), default=None) if highest is None else highest

    def _values_of(self, name: str) -> list[float]:
        values = [validation["scores"].get(name) for validation in self.validations]
        return [value for value in values if isinstance(value, float)]


def list_statuses(runs_dir: str | Path) -> list[RunStatus]:
    """Return the trainings of this project and those that run on this machine, newest last."""
    folders = [Path(process.folder) for process in list_processes()]
    folders += [folder for folder in list_training_folders(runs_dir) if folder.is_dir()]
    statuses = [RunStatus(folder) for folder in dict.fromkeys(folders)]
    return sorted(statuses, key=lambda status: (status.state == "running", status.last_change))


def find_status(run: str, runs_dir: str | Path) -> RunStatus:
    """Return the status of one training.

    Parameters
    ----------
    run : str
        Output folder, ``runs:/ID``, or the first 6 or more characters of the ID.
    runs_dir : str or Path
        Folder of the list of trainings.

    Raises
    ------
    ModelError
        No training or several trainings match.
    """
    folder = expand_home(run)
    if folder.is_dir():
        return RunStatus(folder.absolute())
    start = run.removeprefix("runs:/").strip("/")
    found = [
        status
        for status in list_statuses(runs_dir)
        if len(start) >= 6 and status.run_id.startswith(start)
    ]
    if len(found) == 1:
        return found[0]
    raise ModelError(
        run,
        f"{len(found)} run ids start with this" if found else "no such training on this machine",
        "Give the run id or the output folder; `cytoloop status` lists them.",
    )


def cancel_training(status: RunStatus) -> Iterator[float]:
    """Send SIGTERM to a training, and yield the seconds waited until it has stopped.

    Raises
    ------
    ConfigError
        The training does not run, runs on another machine, or belongs to another user.
    """
    process, where = status.process, str(status.folder)
    if process is None:
        raise ConfigError(
            where,
            f"no training runs in this folder (state: {status.state})",
            "`cytoloop status` lists the running ones.",
        )
    if process.host != socket.gethostname():
        raise ConfigError(
            where, f"the training runs on {process.host}", "Cancel it on that machine."
        )
    try:
        os.kill(process.pid, signal.SIGTERM)
    except PermissionError as error:
        raise ConfigError(
            where, f"process {process.pid} belongs to another user", "Ask them to stop it."
        ) from error
    except ProcessLookupError:
        return
    started = time.monotonic()
    # the note of a process changes when its run is opened
    while (now := find_process(status.folder)) is not None and now.pid == process.pid:
        yield time.monotonic() - started
        time.sleep(0.2)
