"""Which patch comes next: every random number follows from (seed, epoch, index)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cytoloop.data.cached_image import CachedImage
from cytoloop.errors import ConfigError

MOST_BY_VOLUME = 100
"""Patches that an image gives an epoch at most, where its volume decides."""
LEAST_BY_VOLUME = 128
"""Patches of an epoch at least, where volumes decide: few small stacks would make epochs that are
mostly validation."""
_ORDER = 0x0DE5  # keeps the order's random numbers apart from those of patches


class PatchSchedule:
    """From which image each patch of an epoch comes.

    Parameters
    ----------
    shapes : sequence of tuple of int
        Of the images.
    patch_size : sequence of int
    batch_size : int
    patches_per_image : int, optional
        In an epoch. None: as many as fit side by side, 1 to 100; of all images together at least
        128.
    steps_per_epoch : int, optional
        None: as many batches as those patches fill. Else images share the patches of these
        steps in the same proportion.
    seed : int
    replayed : int
        So many images, the last ones, are of earlier rounds.
    replay : float
        Share of the patches that they give, [0, 1).

    Attributes
    ----------
    length : int
        Patches in an epoch, whole batches.
    """

    def __init__(
        self,
        shapes: Sequence[Sequence[int]],
        patch_size: Sequence[int],
        batch_size: int,
        patches_per_image: int | None,
        steps_per_epoch: int | None,
        seed: int,
        replayed: int = 0,
        replay: float = 0.0,
    ) -> None:
        for key, value in (
            ("batch_size", batch_size),
            ("patches_per_image", patches_per_image),
            ("steps_per_epoch", steps_per_epoch),
        ):
            if value is not None and value < 1:
                raise ConfigError(f"data.{key}", f"is {value}", "Expected 1 or more.")
        self.seed = seed
        if patches_per_image is None:
            patch = math.prod(patch_size)
            fitting = [math.ceil(math.prod(shape) / patch) for shape in shapes]
            counts = np.clip(fitting, 1, MOST_BY_VOLUME).astype(float)
        else:
            counts = np.full(len(shapes), float(patches_per_image))
        if replayed:
            fresh = counts[:-replayed].sum()
            counts[-replayed:] *= fresh * replay / (1 - replay) / counts[-replayed:].sum()
        self.counts = counts
        patches = round(counts.sum())
        if patches_per_image is None:
            patches = max(patches, LEAST_BY_VOLUME)
        steps = steps_per_epoch or math.ceil(patches / batch_size)
        self.length = steps * batch_size
        self._epoch: tuple[int, np.ndarray] = (-1, np.zeros(0, int))

    def image(self, epoch: int, index: int) -> int:
        """Return the number of the image that gives a patch."""
        known, order = self._epoch
        if known != epoch:
            order = self._ordered(epoch)
            self._epoch = (epoch, order)  # one assignment: threads see the old or the new one
        return int(order[index])

    def _ordered(self, epoch: int) -> np.ndarray:
        """Return the images of an epoch: as many of each as due, rounded by chance, shuffled."""
        rng = np.random.default_rng((self.seed, epoch, _ORDER))
        due = np.cumsum(self.counts / self.counts.sum() * self.length)
        due[-1] = self.length
        # systematic sampling: every image gets its share rounded down or up
        order = np.searchsorted(due, np.arange(self.length) + rng.random(), side="right")
        return rng.permutation(np.minimum(order, len(due) - 1))


def draw_centre(
    entry: CachedImage, size: Sequence[int], rng: np.random.Generator, foreground_fraction: float
) -> np.ndarray:
    """Return the centre of a random patch, in voxels; the patch lies inside the image.

    Parameters
    ----------
    entry : CachedImage
    size : sequence of int
        Patch size, [Z,] Y, X; at most the image's.
    rng : Generator
    foreground_fraction : float
        Probability that the patch is placed around a voxel of a random object, each object as
        likely as any other whatever its size. Else any place is as likely as any other; where
        voxels are excluded, any that is not, so that no patch is excluded as a whole.

    Returns
    -------
    ndarray of float
        (ndim,): corner + (size - 1) / 2.
    """
    room = [n - s for n, s in zip(entry.shape, size, strict=True)]
    if len(entry.starts) > 1 and rng.random() < foreground_fraction:
        one = rng.integers(len(entry.starts) - 1)
        voxel = entry.points[rng.integers(entry.starts[one], entry.starts[one + 1])]
        # jittered by a quarter patch: an object must not always sit in the middle
        shift = [s // 2 + int(rng.integers(-(s // 4), s // 4 + 1)) for s in size]
    elif entry.places is not None:
        voxel = entry.places[rng.integers(len(entry.places))]
        shift = [int(rng.integers(s)) for s in size]
    else:
        voxel = np.array([rng.integers(r + 1) for r in room])
        shift = [0] * len(room)
    corner = [min(max(int(v) - s, 0), r) for v, s, r in zip(voxel, shift, room, strict=True)]
    return np.array([c + (s - 1) / 2 for c, s in zip(corner, size, strict=True)])
