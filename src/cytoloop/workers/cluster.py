"""Many images at once on a Dask cluster: connect to one or start one, and submit tasks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from cytoloop.errors import ConfigError, ImageError
from cytoloop.extras import import_extra
from cytoloop.workers.cores import usable_cores

log = logging.getLogger(__name__)

Key = TypeVar("Key")

_TIMEOUT = "10s"


@contextmanager
def connect(workers: int, scheduler: str | None) -> Iterator[Any]:
    """Yield a ``distributed.Client``.

    Parameters
    ----------
    workers : int
        Processes of a cluster on this machine, which ends with the block. The cores are divided
        among them. Without effect if a scheduler is given.
    scheduler : str or None
        Address of a running scheduler, ``tcp://HOST:8786``.

    Raises
    ------
    ConfigError
        There is no scheduler at the address.
    """
    (distributed,) = import_extra("engine=dask", "dask", "distributed")

    if scheduler:
        try:
            client = distributed.Client(scheduler, timeout=_TIMEOUT)
        except (OSError, ValueError) as error:
            raise ConfigError(
                "scheduler", f"no Dask scheduler at {scheduler}", "Start one: dask scheduler."
            ) from error
        with client:
            if not client.scheduler_info()["workers"]:
                log.warning(
                    "no worker at %s yet: waiting. Start one: dask worker %s", scheduler, scheduler
                )
            yield client
        return
    threads = str(max(usable_cores() // workers, 1))
    with (
        distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            host="127.0.0.1",
            env={"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
            silence_logs=logging.ERROR,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def submit(client: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return the future of a task; parameters as in `submit_all`."""
    return client.submit(_run_task, function, arguments, pure=False)


def _run_task(function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    """Run a task on a worker; lazy arrays that it reads are computed there, in threads.

    Dask would make tasks of them. They wait for a free worker, which a cluster of busy workers
    does not have.
    """
    import dask

    with dask.config.set(scheduler="threads"):
        return function(*arguments)


def submit_all(
    client: Any, function: Callable[..., Any], calls: Mapping[Key, tuple[Any, ...]]
) -> Iterator[tuple[Key, Any]]:
    """Submit a task for each call; yield its key and its finished future in order of completion.

    A task whose worker is lost runs again on another worker.

    Parameters
    ----------
    client : distributed.Client
    function : callable
        Of a module that the workers can import.
    calls : mapping
        Key to the arguments of the function.
    """
    from distributed import as_completed

    keys = {submit(client, function, *arguments): key for key, arguments in calls.items()}
    for future in as_completed(list(keys)):
        yield keys[future], future


def result_of(future: Any, name: str) -> Any:
    """Return the result of a task; an error of the task is raised here.

    Parameters
    ----------
    future : distributed.Future
    name : str
        Of the image, for the message.

    Raises
    ------
    ImageError
        Several workers were killed while they ran the task.
    """
    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker as error:
        raise ImageError(
            name,
            "every worker that tried it was killed, probably for lack of memory",
            "Use fewer workers=, smaller batches, or machines with more memory.",
        ) from error
