"""The loader of patches: batches prepared by threads, resumable within an epoch.

Threads are used instead of processes: they share memory and start at once, and NumPy, OpenCV and
torch release Python's global lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import torch
from threadpoolctl import threadpool_limits
from torch.utils.data import default_collate

from cytoloop.workers.cores import usable_cores

_AHEAD = 2
"""Batches that each thread prepares ahead."""


class Patches(Protocol):
    """Source of patches that several threads may use at once."""

    def __getitem__(self, index: tuple[int, int]) -> dict[str, Any]:
        """Return the sample of (epoch, number)."""


class EpochSampler:
    """The number of the epoch. Lightning sets it with `set_epoch`."""

    def __init__(self) -> None:
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the number of the epoch."""
        self.epoch = epoch


class PatchLoader:
    """Batches of patches. They do not depend on the number of threads.

    Lightning stores the loader's state in the checkpoint: the number of batches of this epoch that
    the loader has returned.

    Parameters
    ----------
    patches : Patches
    length : int
        Patches of an epoch, of all processes together.
    batch_size : int
        Patches of a batch, of one process.
    workers : int
        Number of threads; 0 = the calling thread prepares batches.
    rank, world : int
        Number of this process, and number of processes. Together they load each patch once.
    pin : bool
        Return batches in pinned memory, for a faster copy to a GPU.
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
        self.sampler = EpochSampler()  # Lightning looks for this attribute
        self._start = 0
        self._done = 0

    def __len__(self) -> int:
        return max(self.length // (self.batch_size * self.world), 1)

    def state_dict(self) -> dict[str, int]:
        """Return the number of batches of this epoch that were returned."""
        return {"batches": self._done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue after the batches that were returned."""
        self._start = int(state["batches"])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Return the remaining batches of an epoch, whose number is read with the first batch.

        A loaded state belongs to the first iterator only. Lightning does not use that iterator if
        all batches of the epoch were returned before.
        """
        self._done, self._start = self._start, 0
        return self._batches(self._done)

    def _batches(self, start: int) -> Iterator[dict[str, Any]]:
        epoch = self.sampler.epoch
        self._done = start
        numbers = iter(range(start, len(self)))
        if not self.workers:
            for number in numbers:
                batch = self._batch(epoch, number)
                self._done += 1
                yield batch
            return
        pool = ThreadPoolExecutor(self.workers, "patches", initializer=_limit_threads)
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
        # patches repeat if an epoch is shorter than one step of all processes
        numbers = [(first + k) % self.length for k in range(self.batch_size)]
        samples = [self.patches[(epoch, number)] for number in numbers]
        batch: dict[str, Any] = default_collate(samples)
        if self.pin:
            batch = {k: v.pin_memory() if torch.is_tensor(v) else v for k, v in batch.items()}
        return batch


def default_workers(on_accelerator: bool) -> int:
    """Return the default number of threads: 1 if the CPU trains, else cores - 1, at most 8."""
    return max(min(usable_cores() - 1, 8), 1) if on_accelerator else 1


def _limit_threads() -> None:
    """Limit OpenMP and OpenCV to one thread in a loader thread: the network needs the cores.

    OpenMP's limit applies to the calling thread. OpenCV's limit applies to the process, in which
    only loader threads use OpenCV during training.
    """
    import cv2

    cv2.setNumThreads(1)
    threadpool_limits(1, user_api="openmp")
