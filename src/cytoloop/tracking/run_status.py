"""How far trainings are, read from what they leave on disk: no store is asked."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cytoloop.errors import ConfigError, ModelError
from cytoloop.tracking.lock import NOTE, Holder, holder_in, holders
from cytoloop.tracking.resume import FINISHED, has_last, noted_trainings

_PROGRESS = "progress.jsonl"


class RunStatus:
    """How far one training is; call `update` to read what has come since.

    Parameters
    ----------
    folder : Path
        Its output folder.

    Attributes
    ----------
    holder : Holder or None
        The process that trains.
    last : dict
        The last line of ``progress.jsonl``, see `cytoloop.training.callbacks.progress.Progress`.
    loss : float
        Of the last noted step; NaN before the first.
    validations : list of dict
        Epoch, step and scores of each validation.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.holder: Holder | None = None
        self.last: dict[str, Any] = {}
        self.loss = math.nan
        self.validations: list[dict[str, Any]] = []
        self._offset = 0
        self.update()

    def update(self) -> RunStatus:
        """Read the lines that are new; return itself."""
        self.holder = holder_in(self.folder)
        try:
            with (self.folder / _PROGRESS).open("rb") as file:
                if file.seek(0, os.SEEK_END) < self._offset:  # overwritten by another training
                    self._offset, self.validations = 0, []
                file.seek(self._offset)
                for line in file:
                    if not line.endswith(b"\n"):  # half written: it is read the next time
                        break
                    self._offset += len(line)
                    self._take(line)
        except OSError:
            pass
        return self

    def _take(self, line: bytes) -> None:
        try:
            facts = json.loads(line)
        except ValueError:
            return
        if not isinstance(facts, dict):
            return
        self.last = facts
        if isinstance(facts.get("loss"), float):
            self.loss = facts["loss"]
        if facts.get("event") == "validation" and isinstance(facts.get("scores"), dict):
            self.validations.append(facts)

    @property
    def state(self) -> str:
        """``running``, ``finished``, ``stopped`` (can be resumed) or ``ended`` (cannot)."""
        if self.holder is not None:
            return "running"
        if (self.folder / FINISHED).is_file():
            return "finished"
        return "stopped" if has_last(self.folder) else "ended"

    @property
    def run_id(self) -> str:
        """Id of its MLflow run, "" where it has none yet."""
        if self.holder is not None and self.holder.run_id:
            return self.holder.run_id
        try:
            text = (self.folder / "run_id").read_text(encoding="utf-8").strip()
        except OSError:
            return ""
        return text if re.fullmatch(r"[0-9a-f]{32}", text) else ""

    @property
    def epochs(self) -> int | None:
        """Number of the epoch that runs, or that was the last one, from 1; None before any."""
        if "epoch" not in self.last:
            return None
        return int(self.last["epoch"]) + (self.last.get("event") != "end")

    @property
    def final(self) -> dict[str, float]:
        """The scores that the training has ended with, by name; empty before."""
        try:
            facts = json.loads((self.folder / FINISHED).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        found = facts.items() if isinstance(facts, dict) and self.holder is None else ()
        return {str(name): value for name, value in found if isinstance(value, float)}

    @property
    def changed(self) -> float:
        """When it was last heard of, seconds since 1970."""
        files = (self.folder / _PROGRESS, self.folder / NOTE, self.folder)
        return next((p.stat().st_mtime for p in files if p.exists()), 0.0)

    def best(self, score: str = "val/dice") -> float | None:
        """Return the highest value of a score so far."""
        values = [line["scores"].get(score) for line in self.validations]
        known = [value for value in values if isinstance(value, float)]
        return max(known) if known else None


def run_statuses(runs_dir: str | Path) -> list[RunStatus]:
    """Return the trainings of this project and those that hold this machine, newest last."""
    folders = [Path(holder.folder) for holder in holders()]
    folders += [folder for folder in noted_trainings(runs_dir) if folder.is_dir()]
    found = [RunStatus(folder) for folder in dict.fromkeys(folders)]
    return sorted(found, key=lambda one: (one.state == "running", one.changed))


def find_training(run: str, runs_dir: str | Path) -> RunStatus:
    """Return a training by its run's id (its first 6 signs will do), ``runs:/ID``, or its folder.

    Raises
    ------
    ModelError
        There is none, or there are several.
    """
    folder = Path(run).expanduser()
    if folder.is_dir():
        return RunStatus(folder.absolute())
    name = run.removeprefix("runs:/").strip("/")
    found = [
        one for one in run_statuses(runs_dir) if len(name) >= 6 and one.run_id.startswith(name)
    ]
    if len(found) == 1:
        return found[0]
    raise ModelError(
        run,
        f"is the start of {len(found)} runs" if found else "no such training on this machine",
        "See `cytoloop status`; give the run's id or the output folder.",
    )


def cancel(one: RunStatus) -> Iterator[float]:
    """Ask a training to stop, and yield the seconds waited until it has.

    Raises
    ------
    ConfigError
        It does not run, runs on another machine, or belongs to another user.
    """
    holder = one.holder
    where = str(one.folder)
    if holder is None:
        raise ConfigError(where, f"no training runs there (it is {one.state})", _SEE)
    if holder.host != socket.gethostname():
        raise ConfigError(where, f"the training runs on {holder.host}", "Cancel it there.")
    try:
        os.kill(holder.pid, signal.SIGTERM)
    except PermissionError as error:
        raise ConfigError(
            where, f"process {holder.pid} is another user's", "Ask them to stop it."
        ) from error
    except ProcessLookupError:
        return
    started = time.monotonic()
    while holder_in(one.folder) == holder:
        yield time.monotonic() - started
        time.sleep(0.2)


_SEE = "See `cytoloop status`."
