"""Which patch comes next: every random number follows from (seed, epoch, index)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Sampler

from cytoloop.data.store import Entry


def patch_corner(
    entry: Entry, size: Sequence[int], rng: np.random.Generator, foreground_share: float
) -> tuple[int, ...]:
    """Return the first corner of a random patch that is not excluded as a whole.

    Parameters
    ----------
    entry : Entry
    size : sequence of int
        Patch size, [Z,] Y, X; at most the image's.
    rng : Generator
    foreground_share : float
        Probability that the patch is centred on a voxel of a random object, each object as
        likely as any other whatever its size; else any place is as likely as any other.
    """
    room = [n - s for n, s in zip(entry.shape, size, strict=True)]
    for _ in range(50):
        if len(entry.starts) > 1 and rng.random() < foreground_share:
            one = rng.integers(len(entry.starts) - 1)
            centre = entry.points[rng.integers(entry.starts[one], entry.starts[one + 1])]
            # jittered by a quarter patch: an object must not always sit in the middle
            shift = [int(rng.integers(-(s // 4), s // 4 + 1)) for s in size]
            corner = [
                int(np.clip(c - s // 2 + j, 0, r))
                for c, s, j, r in zip(centre, size, shift, room, strict=True)
            ]
        else:
            corner = [int(rng.integers(0, r + 1)) for r in room]
        window = tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))
        if entry.valid[window].any():
            return tuple(corner)
    place = np.argwhere(entry.valid)  # nearly all is excluded: take a voxel that is not
    centre = place[rng.integers(len(place))]
    return tuple(int(np.clip(c - s // 2, 0, r)) for c, s, r in zip(centre, size, room, strict=True))


class PatchSampler(Sampler):
    """Yield (epoch, index) pairs, from where a resumed run stands.

    Parameters
    ----------
    length : int
        Patches per epoch.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self.epoch = 0
        self.start = 0

    def set_epoch(self, epoch: int) -> None:
        """Take the epoch's number (Lightning calls this)."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        start, self.start = self.start, 0
        return iter([(self.epoch, index) for index in range(start, self.length)])


class PatchLoader(DataLoader):
    """A DataLoader that can be stopped and resumed in the middle of an epoch.

    Lightning stores its state in the checkpoint. The state counts the batches handed out, not
    those that workers have prepared.
    """

    _done = 0

    def state_dict(self) -> dict[str, int]:
        """Return the number of batches of this epoch that were handed out."""
        return {"batches": self._done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after the batches that were handed out."""
        self.sampler.start = state["batches"] * self._size  # type: ignore[attr-defined]

    @property
    def _size(self) -> int:
        return self.batch_size or 1

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self._done = self.sampler.start // self._size  # type: ignore[attr-defined]
        for batch in super().__iter__():
            self._done += 1
            yield batch
