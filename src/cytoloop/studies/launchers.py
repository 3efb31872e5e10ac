"""Where the trainings of a study run: processes here, SLURM jobs (submitit), or Dask workers.

A launched command reads a file in the folder of its run, by which the study stops it: the folder is
the only thing that all launchers share.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from cytoloop.errors import ConfigError
from cytoloop.extras import import_extra
from cytoloop.workers.cluster import connect

LOCAL, SLURM, SUBMITIT, DASK = "local", "slurm", "submitit", "dask"
LAUNCHERS = (LOCAL, SLURM, SUBMITIT, DASK)
STOP_FILE = ".stop"
_POLL_SECONDS = 0.5
_PATIENCE_SECONDS = 120
"""How long a training may take to save its checkpoint when it is stopped."""
_EXTRA = "study"


class Task(Protocol):
    """A command that runs somewhere."""

    def poll(self) -> int | None:
        """Return its exit status, None while it runs or waits."""


Launch = Callable[[Sequence[str], Path, Mapping[str, str]], Task]
"""Command, folder of the run with its log, and variables of the environment to its task."""


def run_command(command: Sequence[str], folder: str, log: str, variables: Mapping[str, str]) -> int:
    """Run a command until it ends, or until the study asks it to stop; return its exit status."""
    stop = Path(folder) / STOP_FILE
    with Path(folder, log).open("ab") as output:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | dict(variables),
            start_new_session=True,
        )
    asked: float | None = None
    while process.poll() is None:
        time.sleep(_POLL_SECONDS)
        if asked is None and stop.exists():
            asked = time.monotonic()
            process.send_signal(signal.SIGTERM)
        if asked is not None and time.monotonic() - asked > _PATIENCE_SECONDS:
            process.kill()
    return process.returncode


class _SubmittedTask:
    """A job of submitit."""

    def __init__(self, job: Any) -> None:
        self.job = job

    def poll(self) -> int | None:
        if not self.job.done():
            return None
        error = self.job.exception()
        return int(self.job.result()) if error is None else 1


class _DaskTask:
    """A task of a Dask cluster."""

    def __init__(self, future: Any) -> None:
        self.future = future

    def poll(self) -> int | None:
        if not self.future.done():
            return None
        return 1 if self.future.exception() is not None else int(self.future.result())


def launcher_fault(launcher: str, scheduler: str | None) -> str | None:
    """Return what a launcher lacks, as far as it is known before anything starts."""
    if launcher == DASK and scheduler is None:
        return "scheduler= is missing; give scheduler=tcp://HOST:8786"
    if launcher == SLURM and shutil.which("sbatch") is None:
        return "sbatch was not found; start the study on a machine of the cluster"
    return None


@contextmanager
def launching(
    launcher: str, log: str, options: Mapping[str, Any], scheduler: str | None, folder: Path
) -> Iterator[Launch | None]:
    """Yield the function that starts commands elsewhere; None for processes of this machine.

    Parameters
    ----------
    launcher : str
        One of `LAUNCHERS`; ``submitit`` runs SLURM's way in processes of this machine.
    log : str
        Name of the log in the folder of a run.
    options : mapping
        Parameters of a submitit executor, for example ``slurm_partition``.
    scheduler : str or None
        Address of a Dask scheduler.
    folder : Path
        Of the study; job scripts and their logs go into ``jobs/``.

    Raises
    ------
    ConfigError
        The launcher cannot be used here, or an option is unknown.
    """
    if launcher == LOCAL:
        yield None
    elif launcher == DASK:
        if scheduler is None:
            raise ConfigError(
                "launcher=dask", "scheduler= is missing", "Give scheduler=tcp://HOST:8786."
            )
        with connect(1, scheduler) as client:

            def send(command: Sequence[str], run: Path, variables: Mapping[str, str]) -> Task:
                arguments = (list(command), str(run), log, dict(variables))
                return _DaskTask(client.submit(run_command, *arguments, pure=False))

            yield send
    else:
        executor = make_executor(launcher, options, folder / "jobs")

        def submit(command: Sequence[str], run: Path, variables: Mapping[str, str]) -> Task:
            arguments = (list(command), str(run), log, dict(variables))
            return _SubmittedTask(executor.submit(run_command, *arguments))

        yield submit


def make_executor(launcher: str, options: Mapping[str, Any], folder: Path) -> Any:
    """Return an executor of submitit that writes into a folder.

    Raises
    ------
    ConfigError
        SLURM is not installed, or an option is unknown.
    """
    (submitit,) = import_extra(f"launcher={launcher}", _EXTRA, "submitit")
    cluster = {SLURM: "slurm", SUBMITIT: "local"}[launcher]
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        executor.update_parameters(**{"name": "cytoloop", "timeout_min": 24 * 60, **options})
    except (RuntimeError, NameError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"launcher={launcher}",
            str(error).strip().splitlines()[0],
            "On SLURM, run this where sbatch is; launcher_options= holds parameters of submitit, "
            "for example {slurm_partition: gpu, gpus_per_node: 1, timeout_min: 240}.",
        ) from error
    return executor
