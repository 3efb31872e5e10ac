"""The lock of an output folder: one process writes into a folder at a time.

The lock is one of the operating system (`cytoloop.io.file_lock`), with a note that names the
process.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from filelock import Timeout

from cytoloop.errors import OutputError
from cytoloop.home import expand_home
from cytoloop.io.atomic import remove_temporaries
from cytoloop.io.file_lock import held_lock


@dataclass(frozen=True)
class Writer:
    """The process that writes into a folder.

    Attributes
    ----------
    command : str
        For example ``cytoloop curate``.
    pid : int
    host : str
    started : float
        Start time of the process, seconds since 1970.
    """

    command: str
    pid: int
    host: str
    started: float


@contextmanager
def lock_folder(folder: str | Path, command: str, beside: bool = False) -> Iterator[None]:
    """Let no other process write into a folder as long as the block runs.

    The folder is created if it is missing. If it is still empty at the end, it is removed. If the
    last writer was killed, its temporary files are removed.

    Parameters
    ----------
    folder : str or Path
    command : str
        What writes, for the message to others.
    beside : bool
        The lock lies beside the folder: for commands that replace the folder as a whole.

    Raises
    ------
    OutputError
        Another process writes into the folder, or the lock cannot be written.
    """
    folder = Path(os.path.abspath(expand_home(folder)))
    place, prefix = (folder.parent, f".{folder.name}.") if beside else (folder, ".cytoloop.")
    lock_file, note = place / f"{prefix}lock", place / f"{prefix}writer.json"
    created = [path for path in (place, *place.parents) if not path.exists()]
    with ExitStack() as stack:
        try:
            stack.callback(_remove_empty, created)
            stack.enter_context(held_lock(lock_file))
        except Timeout:
            raise _in_use_error(folder, _read_note(note)) from None
        except OSError as error:
            raise OutputError(
                str(folder),
                f"cannot be written to: {error.strerror or error}",
                "Check its permissions and the space on the disk, or take another output=.",
            ) from error
        if note.exists() and folder.is_dir():  # the process that wrote it was killed
            remove_temporaries(folder)
        with suppress(OSError):  # the note only explains the lock
            _write_note(note, command)
        stack.callback(note.unlink, missing_ok=True)
        yield


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:
        if not folder.is_dir() or any(folder.iterdir()):
            return
        folder.rmdir()


def _write_note(note: Path, command: str) -> None:
    process = psutil.Process()
    writer = Writer(command, process.pid, socket.gethostname(), process.create_time())
    note.write_text(json.dumps(asdict(writer)) + "\n", encoding="utf-8")


def _read_note(note: Path) -> Writer | None:
    """Return the writer that a note names, None if the note is missing or damaged."""
    try:
        facts = json.loads(note.read_text(encoding="utf-8"))
        return Writer(
            str(facts["command"]), int(facts["pid"]), str(facts["host"]), float(facts["started"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _in_use_error(folder: Path, writer: Writer | None) -> OutputError:
    by = "another process" if writer is None else f"{writer.command} (process {writer.pid}"
    if writer is not None:
        by += ")" if writer.host == socket.gethostname() else f" on {writer.host})"
    return OutputError(
        str(folder),
        f"{by} is writing into this folder",
        "Wait until it has ended, or take another output=.",
    )
