"""Which image each patch of an epoch comes from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cytoloop.data.settings import SamplingSettings

MAX_PATCHES_PER_IMAGE = 100
"""Maximum number of patches of an image and epoch, if it follows from the volume."""
MIN_PATCHES_PER_EPOCH = 128
"""Minimum number of patches of an epoch, if it follows from the volumes. With fewer patches, an
epoch of a few small images would mostly consist of validation."""
_ORDER_STREAM = 0x0DE5  # separates the random numbers of the order from those of the patches


class PatchSchedule:
    """The image of each patch of an epoch. The order depends on the seed and the epoch only.

    Parameters
    ----------
    shapes : sequence of tuple of int
        Shape of each image, ([Z,] Y, X).
    settings : SamplingSettings
        If ``steps_per_epoch`` is set, images share the patches of these steps in proportion to
        their number of patches without it.
    replayed : int
        Number of images of an earlier data set; they are the last ones.

    Attributes
    ----------
    counts : ndarray of float64
        (images,): number of patches of each image, before rounding to whole batches.
    length : int
        Patches of an epoch, in whole batches.
    """

    def __init__(
        self, shapes: Sequence[Sequence[int]], settings: SamplingSettings, replayed: int = 0
    ) -> None:
        self.shapes = list(shapes)
        self.settings = settings
        if settings.patches_per_image is None:
            patch = math.prod(settings.patch_size)
            fitting = [math.ceil(math.prod(shape) / patch) for shape in shapes]
            counts = np.clip(fitting, 1, MAX_PATCHES_PER_IMAGE).astype(float)
        else:
            counts = np.full(len(shapes), float(settings.patches_per_image))
        if replayed:
            replay = settings.replay_fraction
            present = counts[:-replayed].sum()
            counts[-replayed:] *= present * replay / (1 - replay) / counts[-replayed:].sum()
        self.counts = counts
        patches = round(counts.sum())
        if settings.patches_per_image is None:
            patches = max(patches, MIN_PATCHES_PER_EPOCH)
        steps = settings.steps_per_epoch or math.ceil(patches / settings.batch_size)
        self.length = steps * settings.batch_size
        self._order: tuple[int, np.ndarray] = (-1, np.zeros(0, int))  # epoch and its images

    def image_index(self, epoch: int, number: int) -> int:
        """Return the index of the image that a patch of an epoch comes from."""
        known, order = self._order
        if known != epoch:
            order = self._draw_order(epoch)
            self._order = (epoch, order)  # a single assignment: safe for several threads
        return int(order[number])

    def _draw_order(self, epoch: int) -> np.ndarray:
        """Return the image of each patch of an epoch, shuffled; fractions are rounded randomly."""
        rng = np.random.default_rng((self.settings.seed, epoch, _ORDER_STREAM))
        due = np.cumsum(self.counts / self.counts.sum() * self.length)
        due[-1] = self.length
        # systematic sampling: the count of each image is rounded down or up
        order = np.searchsorted(due, np.arange(self.length) + rng.random(), side="right")
        return rng.permutation(np.minimum(order, len(due) - 1))
