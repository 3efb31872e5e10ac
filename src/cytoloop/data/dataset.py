"""Samples: a random patch for training, a whole image for validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose
from torch import Tensor
from torch.utils.data import Dataset

from cytoloop.data.sampling import patch_corner
from cytoloop.data.store import Entry
from cytoloop.intensity import intensity_statistics, normalize

Sample = dict[str, Any]


class _Normalized:
    """Entries with the statistics that bring them to network units."""

    def __init__(self, entries: Sequence[Entry], rule: Mapping[str, Any]) -> None:
        self.entries = list(entries)
        self.levels = [intensity_statistics(entry.image, rule) for entry in self.entries]

    def sample(self, number: int, window: tuple[slice, ...]) -> dict[str, Tensor]:
        """Return image (C, ...) , target (1, ...) and weight (1, ...), float32."""
        entry = self.entries[number]
        image = normalize(entry.image[(slice(None), *window)], *self.levels[number])
        return {
            "image": torch.from_numpy(image),
            "target": torch.from_numpy((entry.labels[window] > 0)[None].astype(np.float32)),
            "weight": torch.from_numpy(entry.valid[window][None].astype(np.float32)),
        }


class PatchDataset(Dataset):
    """Random patches; an item's index is (epoch, number) and says all about its randomness.

    Parameters
    ----------
    entries : sequence of Entry
    rule : mapping
        Normalisation, see `cytoloop.intensity`.
    patch_size : sequence of int
        [Z,] Y, X.
    foreground_share : float
        See `patch_corner`.
    augmentation : Compose
        MONAI dictionary transforms on image, target and weight.
    seed : int
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        rule: Mapping[str, Any],
        patch_size: Sequence[int],
        foreground_share: float,
        augmentation: Compose,
        seed: int,
    ) -> None:
        self.images = _Normalized(entries, rule)
        self.patch_size = list(patch_size)
        self.foreground_share = foreground_share
        self.augmentation = augmentation
        self.seed = seed
        # any voxel is as likely as any other: a large image gives more patches than a small one
        volumes = np.array([float(np.prod(entry.shape)) for entry in entries])
        self.shares = np.cumsum(volumes / volumes.sum())

    def __getitem__(self, index: tuple[int, int]) -> Sample:
        """Return image (C, *patch), target (1, *patch) and weight (1, *patch), float32."""
        rng = np.random.default_rng((self.seed, *index))
        number = min(int(np.searchsorted(self.shares, rng.random())), len(self.shares) - 1)
        entry = self.images.entries[number]
        corner = patch_corner(entry, self.patch_size, rng, self.foreground_share)
        window = tuple(slice(c, c + s) for c, s in zip(corner, self.patch_size, strict=True))
        self.augmentation.set_random_state(seed=int(rng.integers(2**31)))
        changed = self.augmentation(self.images.sample(number, window))
        sample: Sample = {key: torch.as_tensor(value) for key, value in changed.items()}
        sample["id"] = entry.id
        return sample


class WholeImages(Dataset):
    """Whole images, always the same: validation does not change from epoch to epoch.

    Parameters
    ----------
    entries : sequence of Entry
    rule : mapping
        Normalisation, see `cytoloop.intensity`.
    """

    def __init__(self, entries: Sequence[Entry], rule: Mapping[str, Any]) -> None:
        self.images = _Normalized(entries, rule)

    def __len__(self) -> int:
        return len(self.images.entries)

    def __getitem__(self, number: int) -> Sample:
        """Return image (C, ...), target (1, ...) and weight (1, ...), float32."""
        entry = self.images.entries[number]
        sample: Sample = dict(self.images.sample(number, (slice(None),) * len(entry.shape)))
        sample["id"] = entry.id
        return sample
