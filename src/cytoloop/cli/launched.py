"""`cytoloop train` as one of several processes that torchrun, SLURM or Lightning started."""

from __future__ import annotations

import os
from collections.abc import Callable

from cytoloop.errors import ConfigError, CytoloopError

_VARIABLES = (
    "LOCAL_RANK",
    "SLURM_NTASKS",
    "JSM_NAMESPACE_RANK",
    "OMPI_COMM_WORLD_SIZE",
    "PMI_SIZE",
)
"""Each launcher sets one of these. Without them the slow import of Lightning is left out."""

_MULTIRUN = {"-m", "--multirun"}
_MULTIRUN_ERROR = ConfigError(
    "--multirun",
    "is not possible with torchrun or SLURM",
    "Start one training for each combination of values.",
)


def is_launched() -> bool:
    """Return whether a launcher may have started this process."""
    return any(name in os.environ for name in _VARIABLES)


def run_launched(
    argv: list[str], run: Callable[[], int], report: Callable[[CytoloopError], int]
) -> int:
    """Run the command in the first process, and only its fit in the others; return the status.

    Parameters
    ----------
    argv : list of str
        Words after ``cytoloop train``.
    run : callable
        Runs the command, reports its errors and returns the exit status.
    report : callable
        Prints an error and returns its exit status.
    """
    from cytoloop.training.distributed import join_training, leading
    from cytoloop.training.launch import find_launcher, rank_of

    flags = {word for word in argv if word.startswith("-")}
    try:
        launcher = find_launcher()
        if launcher is None or flags - _MULTIRUN:  # such as --help
            return run()
        if rank_of(launcher) > 0:
            from cytoloop.training.fit import run_trainer

            return join_training(launcher, run_trainer)
        with leading(launcher):
            return report(_MULTIRUN_ERROR) if flags else run()
    except CytoloopError as error:
        return report(error)
