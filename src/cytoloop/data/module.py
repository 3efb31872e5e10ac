"""The Lightning data module: a curated data set as patches and whole images."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import monai
from lightning import LightningDataModule
from monai.transforms import Compose
from torch.utils.data import DataLoader

from cytoloop.data.dataset import PatchDataset, WholeImages
from cytoloop.data.sampling import PatchLoader, PatchSampler
from cytoloop.data.store import Entry, ImageStore
from cytoloop.errors import ConfigError
from cytoloop.manifest import Manifest, read_dataset

log = logging.getLogger(__name__)


class ManifestDataModule(LightningDataModule):
    """Patches of the training rows, whole images of the validation rows.

    Parameters
    ----------
    path : str or Path
        Curated data set, see `cytoloop.manifest.read_dataset`.
    patch_size : sequence of int
        [Z,] Y, X.
    batch_size, patches_per_epoch : int
    foreground_share : float
        Share of patches that are centred on a random object.
    num_workers : int
        Processes that prepare patches; 0 = the training process itself.
    seed : int
    store_dir : str or Path
        Where images are kept as read, see `cytoloop.data.store`.
    normalization : mapping
        See `cytoloop.intensity`.
    augmentation : Compose
        MONAI dictionary transforms.
    fold : int, optional
        Fold of cross-validation that is for validation.
    """

    def __init__(
        self,
        path: str | Path,
        patch_size: Sequence[int],
        batch_size: int,
        patches_per_epoch: int,
        foreground_share: float,
        num_workers: int,
        seed: int,
        store_dir: str | Path,
        normalization: Mapping[str, Any],
        augmentation: Compose,
        fold: int | None = None,
    ) -> None:
        super().__init__()
        if patch_size[-1] != patch_size[-2] and _turns(augmentation):
            raise ConfigError(
                "data.patch_size",
                f"{list(patch_size)} is not square in the plane, but the augmentation turns it",
                "Take Y = X, or augmentation=light.",
            )
        monai.data.set_track_meta(False)  # plain tensors: faster, and no file name leaks along
        self.path = path
        self.fold = fold
        self.patch_size = list(patch_size)
        self.batch_size = int(batch_size)
        self.patches_per_epoch = max(int(patches_per_epoch), self.batch_size)
        self.foreground_share = foreground_share
        self.num_workers = num_workers
        self.seed = seed
        self.store = ImageStore(store_dir)
        self.rule = dict(normalization)
        self.augmentation = augmentation
        self._train: PatchDataset | None = None
        self._valid: WholeImages | None = None

    def setup(self, stage: str) -> None:
        """Read the manifest and open the images (building their store entries if need be)."""
        if self._train is not None:
            return
        dataset = read_dataset(self.path, self.fold)
        self._train = PatchDataset(
            self._entries(dataset["train"]),
            self.rule,
            self.patch_size,
            self.foreground_share,
            self.augmentation,
            self.seed,
        )
        self._valid = WholeImages(self._entries(dataset["valid"]), self.rule)

    def _entries(self, manifest: Manifest) -> list[Entry]:
        return [self.store.entry(row) for row in manifest]

    def train_dataloader(self) -> DataLoader:
        """Return batches of patches: image (B, C, ...), target and weight (B, 1, ...)."""
        if self._train is None:
            self.setup("fit")
        length = self.patches_per_epoch - self.patches_per_epoch % self.batch_size
        return PatchLoader(
            self._train,  # type: ignore[arg-type]
            batch_size=self.batch_size,
            sampler=PatchSampler(length),
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )

    def val_dataloader(self) -> DataLoader:
        """Return whole images, one at a time."""
        if self._valid is None:
            self.setup("fit")
        return DataLoader(self._valid, batch_size=1)  # type: ignore[arg-type]


def _turns(augmentation: Compose) -> bool:
    return any("Rotate90" in type(part).__name__ for part in augmentation.transforms)
