"""Batches prepared ahead by threads, stopped and resumed in the middle of an epoch.

Threads, not processes: nothing is forked under running threads or spawned and imported again,
memory is shared, and what the work is made of (NumPy, OpenCV, torch) lets other threads run.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import torch
from threadpoolctl import threadpool_limits
from torch.utils.data import default_collate

_AHEAD = 2
"""Batches that each thread prepares ahead."""


class Patches(Protocol):
    """What the loader takes patches from; used by several threads at once."""

    def __getitem__(self, index: tuple[int, int]) -> dict[str, Any]:
        """Return the sample of (epoch, number)."""


class EpochState:
    """The epoch, and where in it a run stands. Lightning tells it through `set_epoch`."""

    def __init__(self) -> None:
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Take the epoch's number."""
        self.epoch = epoch


class PatchLoader:
    """Batches of patches, the same whatever the number of threads.

    Lightning stores the loader's state in the checkpoint. The state counts the batches handed out,
    not those prepared.

    Parameters
    ----------
    patches : Patches
    length : int
        Patches of an epoch in all processes together.
    batch_size : int
        Of this process.
    workers : int
        Threads; 0 = the calling thread itself.
    rank, world : int
        This process and how many there are: together they see each patch once.
    pin : bool
        Keep batches in memory that a GPU reads from directly.
    """

    def __init__(
        self,
        patches: Patches,
        length: int,
        batch_size: int,
        workers: int = 0,
        rank: int = 0,
        world: int = 1,
        pin: bool = False,
    ) -> None:
        self.patches = patches
        self.length = length
        self.batch_size = batch_size
        self.workers = workers
        self.rank, self.world = rank, world
        self.pin = pin
        self.sampler = EpochState()
        self._start = 0
        self._done = 0

    def __len__(self) -> int:
        return max(self.length // (self.batch_size * self.world), 1)

    def state_dict(self) -> dict[str, int]:
        """Return the number of batches of this epoch that were handed out."""
        return {"batches": self._done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after the batches that were handed out."""
        self._start = int(state["batches"])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        epoch = self.sampler.epoch
        self._done, self._start = self._start, 0
        numbers = iter(range(self._done, len(self)))
        if not self.workers:
            for number in numbers:
                batch = self._batch(epoch, number)
                self._done += 1
                yield batch
            return
        pool = ThreadPoolExecutor(self.workers, "patches", initializer=_one_core_each)
        try:
            ahead: deque[Future[dict[str, Any]]] = deque()
            for number in numbers:
                ahead.append(pool.submit(self._batch, epoch, number))
                if len(ahead) < self.workers * _AHEAD:
                    continue
                batch = ahead.popleft().result()
                self._done += 1
                yield batch
            while ahead:
                batch = ahead.popleft().result()
                self._done += 1
                yield batch
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _batch(self, epoch: int, number: int) -> dict[str, Any]:
        first = (number * self.world + self.rank) * self.batch_size
        # an epoch shorter than a step of all processes begins again
        numbers = [(first + k) % self.length for k in range(self.batch_size)]
        samples = [self.patches[(epoch, number)] for number in numbers]
        batch: dict[str, Any] = default_collate(samples)
        if self.pin:
            batch = {k: v.pin_memory() if torch.is_tensor(v) else v for k, v in batch.items()}
        return batch


def default_workers(on_accelerator: bool) -> int:
    """Return how many threads prepare batches: one beside a computing CPU, more beside a GPU."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(min((cores or 1) - 1, 8), 1) if on_accelerator else 1


def _one_core_each() -> None:
    """Keep a loader thread from starting threads of its own: the network needs the cores.

    OpenMP's limit is that of the calling thread; OpenCV's is its process's, where nothing else
    uses it during training.
    """
    import cv2

    cv2.setNumThreads(1)
    threadpool_limits(1, user_api="openmp")
