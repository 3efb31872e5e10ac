"""The lock of an accelerator (one training at a time), and notes of which process trains where.

The lock is a file lock of the operating system: it is released when its process ends, however
that ends. The note beside it names the process by its id and start time, because the system
uses ids again.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from cytoloop.errors import ConfigError
from cytoloop.home import expand_home
from cytoloop.io.atomic import replacing
from cytoloop.io.folder_lock import lock_folder
from cytoloop.tracking.study_store import STUDY_FILE

NOTE_FILE = "training.json"
"""Name of the note in the output folder of a training, as long as it runs."""


@dataclass(frozen=True)
class TrainingProcess:
    """A process that trains.

    Attributes
    ----------
    pid : int
    started : float
        Start time of the process, seconds since 1970.
    host : str
    run_id : str
        Id of the MLflow run, empty until the run is open.
    folder : str
        Absolute output folder.
    devices : tuple of str
        Names of accelerators, for example ``cpu`` or ``cuda-0``.
    """

    pid: int
    started: float
    host: str
    run_id: str
    folder: str
    devices: tuple[str, ...]

    @property
    def is_alive(self) -> bool:
        """Whether the process runs. On another machine that cannot be checked: True."""
        if self.host != socket.gethostname():
            return True
        try:
            process = psutil.Process(self.pid)
            return (
                abs(process.create_time() - self.started) < 2
                and process.status() != psutil.STATUS_ZOMBIE
            )
        except psutil.Error:
            return False


def state_folder() -> Path:
    """Return the folder of the locks: ``CYTOLOOP_STATE``, else the user's folder for state.

    Where no home folder can be written, as in many containers, it is in the folder for temporary
    files.
    """
    given = os.environ.get("CYTOLOOP_STATE")
    if given:
        return Path(given)
    home = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    folder = expand_home(home) / "cytoloop"
    present = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if present.is_dir() and os.access(present, os.W_OK):
        return folder
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    return Path(tempfile.gettempdir()) / f"cytoloop-{user}"


@contextmanager
def lock_training(
    folder: str | Path, devices: Sequence[str], lock: bool = True
) -> Iterator[Callable[[str], None]]:
    """Lock the devices for as long as the block runs, and keep a note in the output folder.

    In a training of several processes only the first process calls this.

    Parameters
    ----------
    folder : str or Path
        Output folder.
    devices : sequence of str
        Names of accelerators, for example ``cpu`` or ``cuda-0``.
    lock : bool
        False: write the note only.

    Yields
    ------
    callable
        Call it with the id of the MLflow run when the run is open; it adds the id to the notes.

    Raises
    ------
    ConfigError
        Another process has locked a device or trains into that folder, or the lock cannot be
        written.
    OutputError
        Another verb writes into that folder.
    """
    check_not_in_use(folder)
    note = Path(folder).absolute() / NOTE_FILE
    with (
        lock_folder(folder, "cytoloop train"),
        lock_devices(folder, devices if lock else (), note) as write_notes,
    ):
        yield write_notes


@contextmanager
def lock_devices(
    folder: str | Path, devices: Sequence[str], *more_notes: Path
) -> Iterator[Callable[[str], None]]:
    """Lock devices of this machine for as long as the block runs; the folder is not checked.

    Parameters
    ----------
    folder : str or Path
        Output folder of the training, for the notes.
    devices : sequence of str
        Names of accelerators, for example ``cpu`` or ``cuda-0``.
    *more_notes : Path
        Files in which to keep the note, too.

    Yields
    ------
    callable
        As in `lock_training`.

    Raises
    ------
    ConfigError
        Another process has locked a device, or the lock cannot be written.
    """
    folder = Path(folder).absolute()
    process = psutil.Process()
    notes: list[Path] = []

    def write_notes(run_id: str) -> None:
        facts = (process.pid, process.create_time(), socket.gethostname(), run_id, str(folder))
        for note in notes:
            _write_note(note, TrainingProcess(*facts, tuple(devices)))

    with ExitStack() as stack:
        for device in sorted(devices):
            note = _note_of(device)
            _lock_device(stack, note, device)
            stack.callback(note.unlink, missing_ok=True)
            notes.append(note)
        for note in more_notes:
            stack.callback(note.unlink, missing_ok=True)
            notes.append(note)
        write_notes("")
        yield write_notes


def check_not_in_use(folder: str | Path) -> None:
    """Refuse a folder into which another process trains.

    Raises
    ------
    ConfigError
    """
    other = find_process(folder)
    if other is not None and (other.pid, other.host) != (os.getpid(), socket.gethostname()):
        raise _in_use_error(str(Path(folder).absolute()), other)


def note_process(folder: str | Path, pid: int) -> None:
    """Note a process that starts to train into a folder, before it can do that itself."""
    try:
        started = psutil.Process(pid).create_time()
    except psutil.Error:  # it has ended; its log says why
        return
    process = TrainingProcess(pid, started, socket.gethostname(), "", str(folder), ())
    _write_note(Path(folder).absolute() / NOTE_FILE, process)


def find_process(folder: str | Path) -> TrainingProcess | None:
    """Return the process that trains into an output folder, None if there is none."""
    return _read_live_note(Path(folder) / NOTE_FILE)


def list_processes() -> list[TrainingProcess]:
    """Return the processes that have locked an accelerator of this machine."""
    notes = sorted(state_folder().glob(f"{_machine()}.*.json"))
    found = [process for note in notes if (process := _read_live_note(note)) is not None]
    return list({process.pid: process for process in found}.values())


def _lock_device(stack: ExitStack, note: Path, device: str) -> None:
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        stack.enter_context(FileLock(note.with_suffix(".lock"), timeout=0))
    except Timeout:
        raise _in_use_error(device, _read_note(note)) from None
    except OSError as error:
        raise ConfigError(
            str(note.parent),
            f"the lock of {device} cannot be written: {error.strerror}",
            "Set CYTOLOOP_STATE to a folder of yours, or train with lock=false.",
        ) from error


def _in_use_error(what: str, process: TrainingProcess | None) -> ConfigError:
    if process is None:  # the other process has the lock and has not written its note yet
        return ConfigError(
            what, "in use by a training that is just starting", "Try again, or set lock=false."
        )
    if (Path(process.folder) / STUDY_FILE).is_file():
        return ConfigError(
            what,
            f"in use by a study: process {process.pid}, in {process.folder}",
            f"Wait for its end, stop it with `kill {process.pid}` (the same `cytoloop study` goes "
            "on later), or work beside it with lock=false: the two then share the cores.",
        )
    known = f"run={shlex.quote(str(process.run_id or process.folder))}"
    run = f"run {process.run_id} in {process.folder}" if process.run_id else f"in {process.folder}"
    beside = "" if what == process.folder else ", or train beside it with lock=false"
    return ConfigError(
        what,
        f"in use by a training: process {process.pid}, {run}",
        f"Watch it with `cytoloop status {known} watch=true`, stop it with "
        f"`cytoloop cancel {known}`{beside}.",
    )


def _machine() -> str:
    return socket.gethostname().replace("/", "_")


def _note_of(device: str) -> Path:
    return state_folder() / f"{_machine()}.{device}.json"


def _write_note(note: Path, process: TrainingProcess) -> None:
    with replacing(note) as temporary:
        temporary.write_text(json.dumps(asdict(process)) + "\n", encoding="utf-8")


def _read_note(note: Path) -> TrainingProcess | None:
    """Return the process that a note names, None if the note is missing or damaged."""
    try:
        facts = json.loads(note.read_text(encoding="utf-8"))
        return TrainingProcess(
            int(facts["pid"]),
            float(facts["started"]),
            str(facts["host"]),
            str(facts["run_id"]),
            str(facts["folder"]),
            tuple(map(str, facts["devices"])),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read_live_note(note: Path) -> TrainingProcess | None:
    """Return the process that a note names if it still runs."""
    process = _read_note(note)
    return process if process is not None and process.is_alive else None
