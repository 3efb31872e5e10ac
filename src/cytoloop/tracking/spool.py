"""The spool: what a training logs waits in a file until the store has it."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from cytoloop.redact import redact_url
from cytoloop.tracking.log_entries import (
    LogEntry,
    describe_entry,
    from_json_line,
    is_unavailable,
    to_json_line,
    write_entry,
)

log = logging.getLogger(__name__)

SPOOL_FILE = "mlflow_spool.jsonl"
"""Name of the file in the output folder; its first line names the run."""

_PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0)  # seconds between two tries while the store is away
_TRIES = 5  # of an entry that an answering store fails on


class Spool:
    """Entries in a file, and a thread that takes them to the store in their order.

    An entry is in the file before `put` returns, so a killed process loses none: the next one
    delivers them. What has been delivered twice is there once (see
    `cytoloop.tracking.log_entries.write_entry`). The file is gone when everything has arrived.

    Parameters
    ----------
    client : MlflowClient
    run_id : str
    path : Path
    """

    def __init__(self, client: MlflowClient, run_id: str, path: Path) -> None:
        self.client = client
        self.run_id = run_id
        self.path = path
        self.away = False
        self._waiting: deque[LogEntry] = deque()
        self._change = threading.Condition()
        self._closing = threading.Event()
        self._served = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="mlflow-spool", daemon=True)
        self._told: set[str] = set()
        if path.is_file():
            self._waiting.extend(read_spool(path)[1])
            with path.open("a", encoding="utf-8") as file:
                file.write("\n")  # a crash may have cut the last line off
        else:
            self._open_file()
        self._thread.start()

    def put(self, entry: LogEntry) -> None:
        """Write an entry down; it is delivered soon. This neither waits nor fails."""
        with self._change:
            try:
                if not self.path.is_file():
                    self._open_file()
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(to_json_line(entry))
            except OSError as error:  # a full disk: the store may still take it
                log.warning("%s: %s", self.path, error.strerror)
            self._waiting.append(entry)
            self._change.notify_all()

    def close(self, patience: float = 30.0) -> int:
        """Wait until everything is delivered, and return the number of entries that is not.

        Parameters
        ----------
        patience : float
            Seconds that the store may be away; while it answers, large files take their time.
        """
        with self._change:
            self._closing.set()
            self._served = time.monotonic()
            self._change.notify_all()
            while self._waiting and not (self.away and time.monotonic() - self._served > patience):
                self._change.wait(0.2)
            left = len(self._waiting)
        if not left:
            self._thread.join(1)
        return left

    def _open_file(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(to_json_line({"kind": "run", "run_id": self.run_id}), encoding="utf-8")

    def _work(self) -> None:
        failures = 0
        while True:
            with self._change:
                while not self._waiting:
                    if self._closing.is_set():
                        return
                    self._change.wait()
                entry = self._waiting[0]
            try:
                write_entry(self.client, self.run_id, entry)
            except Exception as error:  # the thread must outlive whatever a library raises
                failures += 1
                if is_unavailable(error) and (failures < _TRIES or not self._answers()):
                    self._wait(failures, error)
                    continue
                self._tell(entry, error)
            failures = 0
            self._delivered()

    def _wait(self, failures: int, error: Exception) -> None:
        """Wait before the next try, and say once that the store is away."""
        if not self.away:
            self.away = True
            self._served = time.monotonic()
            log.warning(
                "the MLflow store %s does not answer: training goes on, what it logs waits in %s",
                redact_url(str(self.client.tracking_uri)),
                self.path,
            )
            log.debug("%s", error)
        pause = _PAUSES[min(failures, len(_PAUSES)) - 1]
        if self._closing.is_set():
            time.sleep(1.0)
        else:
            self._closing.wait(pause)

    def _tell(self, entry: LogEntry, error: Exception) -> None:
        """Say loudly what was refused, each reason once; the log file has all."""
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        if (kind := f"{entry['kind']} {type(error).__name__}") not in self._told:
            self._told.add(kind)
            log.error("MLflow refused %s: %s", describe_entry(entry), reason)
        else:
            logging.getLogger("mlflow").error("refused %s: %s", describe_entry(entry), reason)

    def _answers(self) -> bool:
        try:
            self.client.search_experiments(max_results=1)
        except (MlflowException, SQLAlchemyError, OSError):
            return False
        return True

    def _delivered(self) -> None:
        with self._change:
            self._waiting.popleft()
            self._served = time.monotonic()
            if self.away:
                self.away = False
                log.info("the MLflow store answers again")
            if not self._waiting:
                self.path.unlink(missing_ok=True)
            self._change.notify_all()


def read_spool(path: Path) -> tuple[str, list[LogEntry]]:
    """Return the run of a spool and the entries that wait in it."""
    with path.open(encoding="utf-8") as file:
        entries = [entry for line in file if (entry := from_json_line(line)) is not None]
    runs = [str(entry.get("run_id")) for entry in entries if entry["kind"] == "run"]
    return (runs[0] if runs else ""), [entry for entry in entries if entry["kind"] != "run"]
