"""The spool: a file that keeps log entries until the MLflow store has them."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import LifecycleStage
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
"""Name of the file in the output folder. Its first line names the run."""

_RETRY_AFTER = (1.0, 2.0, 4.0, 8.0, 15.0)  # seconds between tries while the store is unavailable
_MAX_TRIES = 5  # for an entry that fails while the store answers


class Spool:
    """Log entries in a file, and a thread that sends them to the store in order.

    `put` writes an entry to the file before it returns. If the process is killed, the next
    process sends the entries in the file. An entry that is sent twice is stored once (see
    `cytoloop.tracking.log_entries.write_entry`). The file is removed when all entries are sent.

    Parameters
    ----------
    client : MlflowClient
    run_id : str
    path : Path
        The file.
    sends : bool
        False: entries stay in the file, and another process sends them later.

    Attributes
    ----------
    unavailable : bool
        Whether the store did not answer the last request, or has deleted the run.
    deleted : bool
        Whether the run is deleted in the store.
    """

    def __init__(self, client: MlflowClient, run_id: str, path: Path, sends: bool = True) -> None:
        self.client = client
        self.run_id = run_id
        self.path = path
        self.sends = sends
        self.unavailable = False
        self.deleted = False
        self._queue: deque[LogEntry] = deque()
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._last_answer = time.monotonic()
        self._thread = threading.Thread(target=self._send_all, name="mlflow-spool", daemon=True)
        self._reported: set[str] = set()
        if path.is_file():
            self._queue.extend(read_spool(path)[1] if sends else [])
            with path.open("a", encoding="utf-8") as file:
                file.write("\n")  # a crash may have cut the last line off
        else:
            self._create_file()
        if sends:
            self._thread.start()

    def put(self, entry: LogEntry) -> None:
        """Add an entry. It does not block or raise; the thread sends the entry."""
        with self._changed:
            try:
                if not self.path.is_file():
                    self._create_file()
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(to_json_line(entry))
            except OSError as error:  # for example a full disk; the entry is sent all the same
                log.warning("%s: %s", self.path, error.strerror)
            if self.sends:
                self._queue.append(entry)
                self._changed.notify_all()

    def close(self, patience: float = 30.0) -> int:
        """Wait until all entries are sent; return the number of entries that are not.

        Parameters
        ----------
        patience : float
            Seconds to wait while the store is unavailable. While it answers there is no limit,
            because large files take time.
        """
        with self._changed:
            self._closing.set()
            self._last_answer = time.monotonic()
            self._changed.notify_all()
            while self._queue and not (
                self.unavailable and time.monotonic() - self._last_answer > patience
            ):
                self._changed.wait(0.2)
            left = len(self._queue)
        if not left and self.sends:
            self._thread.join(1)
        return left

    def _create_file(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(to_json_line({"kind": "run", "run_id": self.run_id}), encoding="utf-8")

    def _send_all(self) -> None:
        """Send entries until the spool is closed and empty; the body of the thread."""
        failures = 0
        while True:
            with self._changed:
                while not self._queue:
                    if self._closing.is_set():
                        return
                    self._changed.wait()
                entry = self._queue[0]
            try:
                write_entry(self.client, self.run_id, entry)
            except Exception as error:  # the thread must survive any exception of a library
                failures += 1
                if self._is_deleted():
                    self._wait(failures, error)
                    continue
                if is_unavailable(error) and (failures < _MAX_TRIES or not self._store_answers()):
                    self._wait(failures, error)
                    continue
                self._report_refused(entry, error)
            failures = 0
            self._remove_first()

    def _wait(self, failures: int, error: Exception) -> None:
        """Wait before the next try; warn at the first failure that the store takes no entries."""
        if not self.unavailable:
            self.unavailable = True
            self._last_answer = time.monotonic()
            store = redact_url(str(self.client.tracking_uri))
            found = f"the MLflow store {store} does not answer"
            if self.deleted:
                found = f"run {self.run_id} was deleted in {store}; restore it there"
            log.warning("%s; training continues and keeps its log in %s", found, self.path)
            log.debug("%s", error)
        if self._closing.is_set():
            time.sleep(1.0)
        else:
            self._closing.wait(_RETRY_AFTER[min(failures, len(_RETRY_AFTER)) - 1])

    def _report_refused(self, entry: LogEntry, error: Exception) -> None:
        """Log a refused entry: the first of each kind on the terminal, all in the log file."""
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        if (kind := f"{entry['kind']} {type(error).__name__}") not in self._reported:
            self._reported.add(kind)
            log.error("MLflow refused %s: %s", describe_entry(entry), reason)
        else:
            logging.getLogger("mlflow").error("refused %s: %s", describe_entry(entry), reason)

    def _is_deleted(self) -> bool:
        """Return whether the run was deleted in the store, where it can be restored."""
        try:
            stage = self.client.get_run(self.run_id).info.lifecycle_stage
        except (MlflowException, SQLAlchemyError, OSError):
            return False
        self.deleted = stage == LifecycleStage.DELETED
        return self.deleted

    def _store_answers(self) -> bool:
        try:
            self.client.search_experiments(max_results=1)
        except (MlflowException, SQLAlchemyError, OSError):
            return False
        return True

    def _remove_first(self) -> None:
        """Remove the first entry, which is sent or refused; remove the file after the last one."""
        with self._changed:
            self._queue.popleft()
            self._last_answer = time.monotonic()
            if self.unavailable:
                self.unavailable = False
                log.info("the MLflow store answers again")
                self.deleted = False
            if not self._queue:
                self.path.unlink(missing_ok=True)
            self._changed.notify_all()


def read_spool(path: Path) -> tuple[str, list[LogEntry]]:
    """Return the id of the run that a spool file belongs to, and its entries."""
    with path.open(encoding="utf-8") as file:
        entries = [entry for line in file if (entry := from_json_line(line)) is not None]
    runs = [str(entry.get("run_id")) for entry in entries if entry["kind"] == "run"]
    return (runs[0] if runs else ""), [entry for entry in entries if entry["kind"] != "run"]
