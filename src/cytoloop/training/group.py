"""The link between the processes of a training: a key-value store for their messages."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from lightning.fabric.plugins.environments import ClusterEnvironment, LightningEnvironment
from torch.distributed import DistError, Store, TCPStore, rendezvous

from cytoloop.errors import CytoloopError, ModelError

CONFIG_KEY = "cytoloop/config"
POLL_SECONDS = 0.2

_CONNECT_TIMEOUT = timedelta(minutes=10)
_READY_TIMEOUT = 600.0  # seconds, for the imports of the other processes
_END_TIMEOUT = 60.0  # seconds, for the other processes to read that there is no training


class Group:
    """The link of this process to the others of a training, through a key-value store.

    Parameters
    ----------
    store : Store
        Of `torch.distributed`; rank 0 or the agent of torchrun hosts it.
    world : int
        Number of processes.
    problem : callable
        Returns the failure of a process that this one started as text, None if there is none.
    """

    def __init__(
        self, store: Store, world: int, problem: Callable[[], str | None] = lambda: None
    ) -> None:
        self.store = store
        self.world = world
        self.problem = problem

    def send(self, key: str, **message: Any) -> None:
        """Write a message for the other processes."""
        self.store.set(key, json.dumps(message))

    def has(self, key: str) -> bool:
        """Return whether a message was sent."""
        return self.store.check([key])

    def receive(self, key: str) -> dict[str, Any]:
        """Return a message that was sent."""
        return dict(json.loads(self.store.get(key)))

    def failures(self) -> Mapping[int, dict[str, Any]]:
        """Return what the other processes report of their failure, by rank."""
        ranks = range(1, self.world)
        return {
            rank: self.receive(failed_key(rank)) for rank in ranks if self.has(failed_key(rank))
        }

    def raise_reported_failure(self) -> None:
        """Raise the failure that another process reports, if there is one.

        Raises
        ------
        ModelError
        """
        for rank, found in self.failures().items():
            raise ModelError(f"process {rank}", found["reason"], f"See {found['log']}.")

    def wait_until_ready(self) -> None:
        """Wait until every other process has the config and is ready to train.

        Raises
        ------
        ModelError
            A process has failed, or is not ready after 10 minutes.
        """
        waiting, until = set(range(1, self.world)), time.monotonic() + _READY_TIMEOUT
        while waiting:
            self.raise_reported_failure()
            waiting = {rank for rank in waiting if not self.has(ready_key(rank))}
            if waiting and time.monotonic() > until:
                missing = ", ".join(map(str, sorted(waiting)))
                raise ModelError(
                    f"process {missing}", "is not ready after 10 minutes", "See its output."
                )
            time.sleep(POLL_SECONDS)

    def end(self) -> None:
        """End the others, if they still wait for the config of a training."""
        if not self.has(CONFIG_KEY):
            self.send(CONFIG_KEY, config=None)
            poll(lambda: all(self.has(ready_key(r)) for r in range(1, self.world)), _END_TIMEOUT)


def connect(environment: ClusterEnvironment) -> Store:
    """Return the store of all processes; the first process hosts it, unless torchrun does.

    Raises
    ------
    ModelError
        The other processes do not connect in time.
    """
    host, port = environment.main_address, environment.main_port
    try:
        if isinstance(environment, LightningEnvironment):
            return TCPStore(host, port, wait_for_workers=False, timeout=_CONNECT_TIMEOUT)
        os.environ.update(MASTER_ADDR=host, MASTER_PORT=str(port))
        rank, world = environment.global_rank(), environment.world_size()
        store, _, _ = next(rendezvous("env://", rank, world, timeout=_CONNECT_TIMEOUT))
    except DistError as error:
        raise ModelError(
            f"{host}:{port}",
            f"the processes do not find each other: {first_line(error)}",
            "Start all of them at once, with srun or torchrun on each machine.",
        ) from error
    connected: Store = store
    return connected


def is_lost_connection(error: BaseException) -> bool:
    """Return whether an error says that another process does not answer."""
    return not isinstance(error, CytoloopError) and (
        isinstance(error, DistError) or re.search("gloo|nccl", str(error), re.I) is not None
    )


def poll(condition: Callable[[], bool], seconds: float) -> None:
    """Wait until a condition is true, or a number of seconds."""
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(POLL_SECONDS)


def first_line(error: BaseException) -> str:
    """Return the first line of an error, at most 1000 characters."""
    lines = str(error).strip().splitlines()
    return lines[0][:1000] if lines else type(error).__name__


def ready_key(rank: int) -> str:
    """Return the key with which a process says that it has the config."""
    return f"cytoloop/ready/{rank}"


def failed_key(rank: int) -> str:
    """Return the key of the failure that a process reports."""
    return f"cytoloop/failed/{rank}"
