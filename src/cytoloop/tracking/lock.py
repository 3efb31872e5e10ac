"""One training at a time on an accelerator, and a note of who trains where.

The lock is one of the operating system: it is gone when its process is, however that ended. The
note beside it tells who holds it. A process is known by its id and its start, for ids are used
again.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from cytoloop.errors import ConfigError
from cytoloop.io.atomic import replacing

NOTE_FILE = "training.json"
"""Name of the note in the output folder of a training that runs."""

_RANKS = ("LOCAL_RANK", "SLURM_PROCID")


@dataclass(frozen=True)
class TrainingProcess:
    """A process that trains.

    Attributes
    ----------
    pid : int
    born : float
        Start of the process, seconds since 1970.
    host : str
    run_id : str
        Empty until it has one.
    folder : str
        Absolute output folder.
    devices : tuple of str
    """

    pid: int
    born: float
    host: str
    run_id: str
    folder: str
    devices: tuple[str, ...]

    @property
    def alive(self) -> bool:
        """Whether the process runs; one of another machine is taken to."""
        if self.host != socket.gethostname():
            return True
        try:
            process = psutil.Process(self.pid)
            return (
                abs(process.create_time() - self.born) < 2
                and process.status() != psutil.STATUS_ZOMBIE
            )
        except psutil.Error:
            return False


def state_folder() -> Path:
    """Return where locks are: ``CYTOLOOP_STATE``, else the user's folder for state."""
    given = os.environ.get("CYTOLOOP_STATE")
    if given:
        return Path(given)
    home = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(home).expanduser() / "cytoloop"


@contextmanager
def lock_training(
    folder: str | Path, devices: Sequence[str], lock: bool = True
) -> Iterator[Callable[[str], None]]:
    """Hold the devices while a training runs, and leave a note in its folder.

    The other processes of a distributed training (those of a higher rank) hold nothing.

    Parameters
    ----------
    folder : str or Path
        Output folder.
    devices : sequence of str
        Names of accelerators, as ``cpu`` or ``cuda-0``.
    lock : bool
        False: only the note.

    Yields
    ------
    callable
        Call it with the run's id when that is known: the notes then name it.

    Raises
    ------
    ConfigError
        Another process holds one of them or trains into that folder, or the lock cannot be
        written.
    """
    if any(os.environ.get(name, "0") not in ("", "0") for name in _RANKS):
        yield lambda run_id: None
        return
    folder = Path(folder).absolute()
    if (other := find_process(folder)) is not None:
        raise _taken(str(folder), other)
    me = psutil.Process()
    notes: list[Path] = []

    def name(run_id: str) -> None:
        facts = (me.pid, me.create_time(), socket.gethostname(), run_id, str(folder))
        for note in notes:
            _write(note, TrainingProcess(*facts, tuple(devices)))

    with ExitStack() as held:
        for device in sorted(devices) if lock else ():
            note = _note_of(device)
            _hold(held, note, device)
            held.callback(note.unlink, missing_ok=True)
            notes.append(note)
        notes.append(folder / NOTE_FILE)
        held.callback((folder / NOTE_FILE).unlink, missing_ok=True)
        name("")
        yield name


def _hold(held: ExitStack, note: Path, device: str) -> None:
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        held.enter_context(FileLock(note.with_suffix(".lock"), timeout=0))
    except Timeout:
        raise _taken(device, _read(note)) from None
    except OSError as error:
        raise ConfigError(
            str(note.parent),
            f"the lock of {device} cannot be written: {error.strerror}",
            "Set CYTOLOOP_STATE to a folder of yours, or train with lock=false.",
        ) from error


def find_process(folder: str | Path) -> TrainingProcess | None:
    """Return who trains in an output folder, None where nobody does."""
    return _living(Path(folder) / NOTE_FILE)


def list_processes() -> list[TrainingProcess]:
    """Return who holds an accelerator of this machine."""
    notes = sorted(state_folder().glob(f"{_machine()}.*.json"))
    found = [holder for note in notes if (holder := _living(note)) is not None]
    return list({holder.pid: holder for holder in found}.values())


def _taken(what: str, holder: TrainingProcess | None) -> ConfigError:
    if holder is None:  # between its lock and its note
        return ConfigError(
            what, "is taken by a training that starts just now", "Try again, or with lock=false."
        )
    known = holder.run_id or holder.folder
    run = f"run {holder.run_id} in {holder.folder}" if holder.run_id else f"in {holder.folder}"
    beside = "" if what == holder.folder else ", or train beside it with lock=false"
    return ConfigError(
        what,
        f"is taken by a training: process {holder.pid}, {run}",
        f"Watch it with `cytoloop status run={known} watch=true`, stop it with "
        f"`cytoloop cancel run={known}`{beside}.",
    )


def _machine() -> str:
    return socket.gethostname().replace("/", "_")


def _note_of(device: str) -> Path:
    return state_folder() / f"{_machine()}.{device}.json"


def _write(note: Path, holder: TrainingProcess) -> None:
    with replacing(note) as temporary:
        temporary.write_text(json.dumps(asdict(holder)) + "\n", encoding="utf-8")


def _living(note: Path) -> TrainingProcess | None:
    holder = _read(note)
    return holder if holder is not None and holder.alive else None


def _read(note: Path) -> TrainingProcess | None:
    """Return the holder that a note names, None where it is missing or spoiled."""
    try:
        facts = json.loads(note.read_text(encoding="utf-8"))
        return TrainingProcess(
            int(facts["pid"]),
            float(facts["born"]),
            str(facts["host"]),
            str(facts["run_id"]),
            str(facts["folder"]),
            tuple(map(str, facts["devices"])),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
