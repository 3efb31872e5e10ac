"""Samples: a random patch for training, a whole image for validation."""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import fastremap
import numpy as np
import torch
from torch.utils.data import Dataset

from cytoloop.data.augmentation import Augmentation, Warp
from cytoloop.data.augmentation.warp import bounds, inside, interpolate, nearest, place
from cytoloop.data.cached_image import CachedImage
from cytoloop.data.patch_schedule import PatchSchedule, draw_centre
from cytoloop.data.target_maps import FULL, LOCAL, MAKERS, known_labels
from cytoloop.intensity.normalization import Levels, normalize
from cytoloop.truth.classes import CLASS_PREFIX
from cytoloop.truth.regions import instance_labels

Sample = dict[str, Any]


class PatchDataset:
    """Random patches; an item's index is (epoch, number) and says all about its randomness.

    Safe to be used by several threads at once.

    Parameters
    ----------
    entries : sequence of CachedImage
    levels : sequence of (ndarray, ndarray)
        Offset and scale of each entry's channels, see `CachedImage.intensity_stats`.
    patch_size : sequence of int
        [Z,] Y, X.
    schedule : PatchSchedule
    foreground_fraction : float
        See `draw_centre`.
    augmentation : Augmentation
    seed : int
    heads : sequence of str
        What the channels of a target are: ``foreground``, or a map of `cytoloop.data.target_maps`; or
        classes, see `cytoloop.truth.classes`.
    """

    def __init__(
        self,
        entries: Sequence[CachedImage],
        levels: Sequence[Levels],
        patch_size: Sequence[int],
        schedule: PatchSchedule,
        foreground_fraction: float,
        augmentation: Augmentation,
        seed: int,
        heads: Sequence[str] = ("foreground",),
    ) -> None:
        self.entries = list(entries)
        self.levels = list(levels)
        self.heads = tuple(heads)
        self.maps = [{h: e.map(h) for h in self.heads if h in MAKERS} for e in entries]
        self.patch_size = list(patch_size)
        self.schedule = schedule
        self.foreground_fraction = foreground_fraction
        self.seed = seed
        self._augmentation = augmentation
        self._own = threading.local()

    def __getitem__(self, index: tuple[int, int]) -> Sample:
        """Return image (C, *patch), target (K, *patch) and weight (1, *patch), float32."""
        rng = np.random.default_rng((self.seed, *index))
        number = self.schedule.image(*index)
        return self.draw(number, rng)

    def draw(self, number: int, rng: np.random.Generator) -> Sample:
        """Return a random patch of an image."""
        entry, levels = self.entries[number], self.levels[number]
        augmentation = self._of_this_thread()
        warp = augmentation.draw_warp(rng, len(entry.shape), entry.spacing_um)
        if any(s > n for s, n in zip(warp.source_size(self.patch_size), entry.shape, strict=True)):
            warp.turns -= warp.turns % 2  # a long patch, turned, does not fit into a narrow image
        size = warp.source_size(self.patch_size)
        centre = draw_centre(entry, size, rng, self.foreground_fraction)
        image, labels, valid, maps = warped_patch(
            entry, levels, warp, centre, size, self.maps[number]
        )
        sample = _sample(image, target_of(self.heads, labels, maps), valid, entry.id)
        sample["image"] = augmentation.change_levels(sample["image"], rng).contiguous()
        return sample

    def _of_this_thread(self) -> Augmentation:
        """Return a copy that no other thread uses: MONAI's transforms keep what they draw."""
        if not hasattr(self._own, "augmentation"):
            self._own.augmentation = copy.deepcopy(self._augmentation)
        own: Augmentation = self._own.augmentation
        return own


class WholeImages(Dataset):
    """Whole images, always the same: validation does not change from epoch to epoch.

    Parameters
    ----------
    entries : sequence of CachedImage
    rule : mapping
        Normalisation, see `cytoloop.intensity.normalization`.
    heads : sequence of str
        As for `PatchDataset`.
    """

    def __init__(
        self,
        entries: Sequence[CachedImage],
        rule: Mapping[str, Any],
        heads: Sequence[str] = ("foreground",),
    ) -> None:
        self.entries = list(entries)
        self.heads = tuple(heads)
        self.levels = [entry.intensity_stats(rule) for entry in entries]

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, number: int) -> Sample:
        """Return image (C, ...), target (K, ...), weight (1, ...), float32; labels (...), int32.

        The labels are 1..N; of a mask each piece is an object. ``spacing_um`` is (3,), NaN where
        nobody states it.
        """
        entry = self.entries[number]
        image = normalize(entry.image, *self.levels[number])
        labels = np.asarray(entry.labels)
        maps = {h: np.asarray(entry.map(h)) for h in self.heads if h in MAKERS}
        sample = _sample(image, target_of(self.heads, labels, maps), entry.valid, entry.id)
        objects, _ = fastremap.renumber(instance_labels(labels, valid=entry.valid), in_place=False)
        sample["labels"] = torch.from_numpy(objects.astype(np.int32))
        spacing = entry.spacing_um or (math.nan,) * 3  # a batch takes no None
        sample["spacing_um"] = torch.tensor(spacing)
        return sample


class ImageShard(Dataset):
    """One process's part of the images; all processes have as many, for they validate in step.

    Parameters
    ----------
    images : WholeImages
    rank, world : int
        This process, and how many there are.
    """

    def __init__(self, images: WholeImages, rank: int = 0, world: int = 1) -> None:
        self.images = images
        self.rank, self.world = rank, world

    def __len__(self) -> int:
        return math.ceil(len(self.images) / self.world)

    def __getitem__(self, number: int) -> Sample:
        """Return a whole image; ``counts`` is False where another process has it too."""
        place = number * self.world + self.rank
        return {**self.images[place % len(self.images)], "counts": place < len(self.images)}


def warped_patch(
    entry: CachedImage,
    levels: Levels,
    warp: Warp,
    centre: np.ndarray,
    size: Sequence[int],
    maps: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return a patch of an image as a warp takes it.

    A patch that would not have a single voxel that counts is turned and mirrored only.

    Parameters
    ----------
    entry : CachedImage
    levels : (ndarray, ndarray)
        Offset and scale of each channel.
    warp : Warp
    centre : ndarray
        (ndim,), of the patch, in voxels.
    size : sequence of int
        Of the patch, before quarter turns.
    maps : mapping of str to ndarray of uint8
        ([Z,] Y, X) of the image, moved with it; those of `LOCAL` are made anew where voxels are
        interpolated.

    Returns
    -------
    image : ndarray of float32
        (C, *patch), normalised.
    labels : ndarray of unsigned integers
        (*patch); a view where nothing was interpolated.
    valid : ndarray of bool
        (*patch); False where voxels are excluded or outside the image.
    maps : dict of str to ndarray
        (*patch), 0..255.
    """
    corner = np.rint(centre - (np.asarray(size) - 1) / 2).astype(int)
    window = tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))
    if not warp.is_exact:
        axes = warp.axes
        shape = entry.shape[-axes:]
        offsets = warp.offsets(size)
        shift = place(offsets, centre[-axes:], shape).astype(np.float32)
        coordinates = offsets + shift.reshape(-1, *[1] * axes)
        source = (*window[: len(size) - axes], *bounds(coordinates, shape))
        first = np.array([s.start for s in source[-axes:]], np.float32)
        local = coordinates - first.reshape(-1, *[1] * axes)
        valid = nearest(entry.valid[source], local) & inside(coordinates, shape)
        if valid.any():
            image = interpolate(normalize(entry.image[(slice(None), *source)], *levels), local)
            labels = nearest(entry.labels[source], local)
            moved = {
                name: _made_anew(entry, name, window[:-axes], coordinates)
                if name in LOCAL
                else interpolate(one[source][None].astype(np.float32), local)[0]
                for name, one in maps.items()
            }
            moved = {name: warp.finish(one) for name, one in moved.items()}
            image = np.ascontiguousarray(warp.finish(image))
            return image, warp.finish(labels), warp.finish(valid), moved
    image = normalize(warp.finish(entry.image[(slice(None), *window)]), *levels)
    moved = {name: warp.finish(one[window]) for name, one in maps.items()}
    return image, warp.finish(entry.labels[window]), warp.finish(entry.valid[window]), moved


def _made_anew(
    entry: CachedImage, name: str, planes: tuple[slice, ...], coordinates: np.ndarray
) -> np.ndarray:
    """Return a map of `LOCAL`, made from the labels as a warp moves them.

    Parameters
    ----------
    entry : CachedImage
    name : str
    planes : tuple of slice
        Of the axes that are not resampled.
    coordinates : ndarray
        (axes, *size) of the patch in the image.
    """
    margin = LOCAL[name]
    pads = [(0, 0)] * (coordinates.ndim - 2) + [(margin, margin)] * 2
    # the warp goes on beyond the patch as it does within
    wide = np.pad(coordinates, pads, mode="reflect", reflect_type="odd")
    source = (*planes, *bounds(wide, entry.shape[-len(wide) :]))
    first = np.array([s.start for s in source[-len(wide) :]], np.float32)
    local = wide - first.reshape(-1, *[1] * len(wide))
    labels, valid = (nearest(one[source], local) for one in (entry.labels, entry.valid))
    made = MAKERS[name](known_labels(labels, valid, entry.spacing_um), entry.spacing_um)
    return made[..., margin:-margin, margin:-margin]


def target_of(
    heads: Sequence[str], labels: np.ndarray, maps: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Return what the heads should say, (K, ...) float32 in [0, 1].

    Parameters
    ----------
    heads : sequence of str
        Those of classes in the order of their values.
    labels : ndarray of unsigned integers
        (...).
    maps : mapping of str to ndarray
        (...), 0..255: of the heads of `cytoloop.data.target_maps`.
    """
    target = np.empty((len(heads), *labels.shape), np.float32)
    for value, (channel, head) in enumerate(zip(target, heads, strict=True), 1):
        if head.startswith(CLASS_PREFIX):
            np.equal(labels, value, out=channel, casting="unsafe")
        elif head == "foreground":
            np.greater(labels, 0, out=channel, casting="unsafe")
        else:
            np.divide(maps[head], FULL, out=channel, casting="unsafe")
    return target


def _sample(image: np.ndarray, target: np.ndarray, valid: np.ndarray, name: str) -> Sample:
    """Return what the network is given: the weight with a channel axis, float32."""
    return {
        "image": torch.from_numpy(image),
        "target": torch.from_numpy(target),
        "weight": torch.from_numpy(np.array(valid[None], np.float32, order="C")),
        "id": name,
    }
