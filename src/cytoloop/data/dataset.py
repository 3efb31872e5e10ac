"""Data sets: random patches for training, whole images for validation."""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import fastremap
import numpy as np
import torch
from torch.utils.data import Dataset

from cytoloop.data.augmentation import Augmentation
from cytoloop.data.cached_image import CachedImage
from cytoloop.data.patch_centres import draw_centre
from cytoloop.data.patch_schedule import PatchSchedule
from cytoloop.data.patches import target_channels, warped_patch
from cytoloop.data.target_maps import TARGET_MAPS
from cytoloop.intensity.normalization import IntensityStats, normalize
from cytoloop.truth.regions import instance_labels

Sample = dict[str, Any]


class PatchDataset:
    """Random patches. The index (epoch, number) determines all random numbers of a patch.

    Several threads may use it at once.

    Parameters
    ----------
    images : sequence of CachedImage
    intensity : sequence of (ndarray, ndarray)
        Offset and scale of each image's channels, see `CachedImage.intensity_stats`.
    schedule : PatchSchedule
        With the settings of the patches.
    augmentation : Augmentation
    heads : sequence of str
        Channels of the target: ``foreground``, maps of `cytoloop.data.target_maps`, or classes, see
        `cytoloop.truth.classes`.
    """

    def __init__(
        self,
        images: Sequence[CachedImage],
        intensity: Sequence[IntensityStats],
        schedule: PatchSchedule,
        augmentation: Augmentation,
        heads: Sequence[str] = ("foreground",),
    ) -> None:
        self.images = list(images)
        self.intensity = list(intensity)
        self.schedule = schedule
        self.settings = schedule.settings
        self.heads = tuple(heads)
        self.maps = [{h: i.target_map(h) for h in self.heads if h in TARGET_MAPS} for i in images]
        self._augmentation = augmentation
        self._thread = threading.local()

    def __getitem__(self, index: tuple[int, int]) -> Sample:
        """Return image (C, *patch), target (K, *patch) and weight (1, *patch), float32."""
        rng = np.random.default_rng((self.settings.seed, *index))
        return self.draw(self.schedule.image_index(*index), rng)

    def draw(self, number: int, rng: np.random.Generator) -> Sample:
        """Return a random patch of image `number`."""
        cached, patch_size = self.images[number], self.settings.patch_size
        augmentation = self._thread_augmentation()
        warp = augmentation.draw_warp(rng, len(cached.shape), cached.spacing_um)
        if any(s > n for s, n in zip(warp.source_size(patch_size), cached.shape, strict=True)):
            # a patch that fits into the image may not fit after a quarter turn
            warp.quarter_turns -= warp.quarter_turns % 2
        size = warp.source_size(patch_size)
        centre = draw_centre(cached, size, rng, self.settings.foreground_fraction)
        image, labels, valid, maps = warped_patch(
            cached, self.intensity[number], warp, centre, size, self.maps[number]
        )
        sample = _sample(image, target_channels(self.heads, labels, maps), valid, cached.id)
        sample["image"] = augmentation.apply_intensity(sample["image"], rng).contiguous()
        return sample

    def _thread_augmentation(self) -> Augmentation:
        """Return this thread's copy of the augmentation: MONAI's transforms store random values."""
        if not hasattr(self._thread, "augmentation"):
            self._thread.augmentation = copy.deepcopy(self._augmentation)
        augmentation: Augmentation = self._thread.augmentation
        return augmentation


class WholeImages(Dataset):
    """Whole images, without augmentation.

    Parameters
    ----------
    images : sequence of CachedImage
    normalization : mapping
        See `cytoloop.intensity.normalization`.
    heads : sequence of str
        As for `PatchDataset`.
    """

    def __init__(
        self,
        images: Sequence[CachedImage],
        normalization: Mapping[str, Any],
        heads: Sequence[str] = ("foreground",),
    ) -> None:
        self.images = list(images)
        self.heads = tuple(heads)
        self.intensity = [cached.intensity_stats(normalization) for cached in images]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> Sample:
        """Return image (C, ...), target (K, ...), weight (1, ...), float32; labels (...), int32.

        The labels are instance labels 1..N; connected components of a binary segmentation are
        instances. ``spacing_um`` is (3,) float32, NaN if the voxel size is unknown.
        """
        cached = self.images[number]
        image = normalize(cached.image, *self.intensity[number])
        labels = np.asarray(cached.labels)
        maps = {h: np.asarray(cached.target_map(h)) for h in self.heads if h in TARGET_MAPS}
        target = target_channels(self.heads, labels, maps)
        sample = _sample(image, target, cached.valid, cached.id)
        instances, _ = fastremap.renumber(
            instance_labels(labels, valid=cached.valid), in_place=False
        )
        sample["labels"] = torch.from_numpy(instances.astype(np.int32))
        spacing = cached.spacing_um or (math.nan,) * 3  # a batch cannot hold None
        sample["spacing_um"] = torch.tensor(spacing)
        return sample


class ImageShard(Dataset):
    """The images that one process validates. All processes have the same number of images.

    Parameters
    ----------
    images : WholeImages
    rank, world : int
        Number of this process, and number of processes.
    """

    def __init__(self, images: WholeImages, rank: int = 0, world: int = 1) -> None:
        self.images = images
        self.rank, self.world = rank, world

    def __len__(self) -> int:
        return math.ceil(len(self.images) / self.world)

    def __getitem__(self, number: int) -> Sample:
        """Return a whole image; ``counts`` is False if it only pads this shard."""
        index = number * self.world + self.rank
        return {**self.images[index % len(self.images)], "counts": index < len(self.images)}


def _sample(image: np.ndarray, target: np.ndarray, valid: np.ndarray, row_id: str) -> Sample:
    """Return a sample of tensors; the weight is 1 for valid voxels, (1, ...) float32."""
    return {
        "image": torch.from_numpy(image),
        "target": torch.from_numpy(target),
        "weight": torch.from_numpy(np.array(valid[None], np.float32, order="C")),
        "id": row_id,
    }
