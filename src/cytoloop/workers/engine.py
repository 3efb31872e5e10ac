"""The engine of verbs that go over many images: processes of this machine, or a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from cytoloop.errors import ConfigError
from cytoloop.workers.cluster import connect, result_of, submit_all
from cytoloop.workers.cores import usable_cores
from cytoloop.workers.local import run_parallel

Job = TypeVar("Job")
Result = TypeVar("Result")

LOCAL, DASK = "local", "dask"
ENGINES = (LOCAL, DASK)
_MAX_BATCH = 64
_BATCHES_EACH = 8
"""Jobs travel to a cluster in batches, at least so many for each worker."""


@dataclass(frozen=True)
class Engine:
    """Which processes work on many images.

    Attributes
    ----------
    engine : str
        ``local``: processes of this machine. ``dask``: the cluster at `scheduler`, or one of
        `workers` processes on this machine.
    workers : int
        Processes; 0: one per core; 1 with ``local``: this process.
    scheduler : str or None
        Address of a Dask scheduler, ``tcp://HOST:8786``.

    Raises
    ------
    ConfigError
        All wrong values at once.
    """

    engine: str = LOCAL
    workers: int = 1
    scheduler: str | None = None

    def __post_init__(self) -> None:
        problems = []
        if self.engine not in ENGINES:
            problems.append(f"engine={self.engine}: expected {', '.join(ENGINES)}")
        is_whole = isinstance(self.workers, int) and not isinstance(self.workers, bool)
        if not is_whole or self.workers < 0:
            problems.append(f"workers={self.workers}: expected 0 (all cores), 1, 2 ...")
        if self.scheduler is not None and self.engine != DASK:
            problems.append(f"scheduler={self.scheduler}: needs engine=dask")
        if problems:
            raise ConfigError("config", problems, "See --help of the verb.")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Engine:
        """Return the engine of the keys ``engine``, ``workers`` and ``scheduler`` of a config."""
        return cls(config["engine"], config["workers"], config["scheduler"])

    @property
    def count(self) -> int:
        """Number of processes of this machine."""
        return self.workers or usable_cores()

    @property
    def is_this_process(self) -> bool:
        """Whether no other process is needed."""
        return self.engine == LOCAL and self.count == 1

    def run(
        self, function: Callable[[Job], Result], jobs: Sequence[Job], threads: bool = False
    ) -> Iterator[tuple[int, Result]]:
        """Yield the number and the result of each job, in the order in which the jobs finish.

        Parameters
        ----------
        function : callable
            Function of a module, which other processes can import. Its exceptions are raised here.
        jobs : sequence
            Arguments of the function. With ``dask``, paths must mean the same on every worker.
        threads : bool
            Use threads, not processes, on this machine: for large images.

        Raises
        ------
        ConfigError
            There is no scheduler at the address.
        ImageError
            Several workers of the cluster were killed by the same jobs.
        """
        if self.engine == LOCAL or not jobs:
            yield from run_parallel(function, jobs, self.workers, threads)
            return
        with connect(self.count, self.scheduler) as client:
            workers = len(client.scheduler_info()["workers"]) or 1
            size = min(max(len(jobs) // (workers * _BATCHES_EACH), 1), _MAX_BATCH)
            batches = {first: jobs[first : first + size] for first in range(0, len(jobs), size)}
            calls = {first: (function, batch) for first, batch in batches.items()}
            for first, future in submit_all(client, _run_batch, calls):
                last = first + len(batches[first])
                yield from enumerate(result_of(future, f"images {first + 1} to {last}"), first)


def _run_batch(function: Callable[[Job], Result], jobs: Sequence[Job]) -> list[Result]:
    """Return the results of some jobs, on a worker."""
    return [function(job) for job in jobs]
