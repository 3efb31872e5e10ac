"""The Lightning data module: a curated data set as patches and whole images."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import monai
import numpy as np
from lightning import LightningDataModule
from torch.utils.data import DataLoader

from cytoloop.data.augmentation import Augmentation
from cytoloop.data.cached_image import CachedImage
from cytoloop.data.dataset import ImageShard, PatchDataset, WholeImages
from cytoloop.data.image_cache import ImageCache
from cytoloop.data.patch_loader import PatchLoader, default_workers
from cytoloop.data.patch_schedule import PatchSchedule
from cytoloop.data.replay import replay_rows
from cytoloop.data.target_maps import MAKERS
from cytoloop.errors import ConfigError, ManifestError
from cytoloop.intensity.normalization import check_rule
from cytoloop.manifest import Row, read_dataset
from cytoloop.truth.classes import class_heads, class_names
from cytoloop.workers.local import run_parallel

log = logging.getLogger(__name__)


class ManifestDataModule(LightningDataModule):
    """Patches of the training rows, whole images of the validation rows.

    Parameters
    ----------
    path : str or Path
        Curated data set, see `cytoloop.manifest.read_dataset`.
    patch_size : sequence of int
        [Z,] Y, X.
    batch_size : int
    patches_per_image, steps_per_epoch : int, optional
        See `PatchSchedule`.
    foreground_fraction : float
        Share of patches that are placed around a random object, 0 to 1.
    num_workers : int, optional
        Threads that prepare patches; 0 = the training thread itself; None = as the machine
        has cores and an accelerator.
    seed : int
    cache_dir : str or Path
        Where images are kept as read, see `cytoloop.data.image_cache`.
    cache_limit_gib : float, optional
        How large that may become.
    normalization : mapping
        See `cytoloop.intensity.normalization`.
    augmentation : Augmentation
    fold : int, optional
        Fold of cross-validation that is for validation.
    heads : sequence of str
        What the network learns: ``foreground``, and maps of `cytoloop.data.target_maps`; or classes,
        see `cytoloop.truth.classes`.
    replay_fraction : float
        Share of the patches that are of an earlier data set, [0, 1), so that what was learned
        there is not forgotten.
    replay_path : str or Path, optional
        That data set: of its training images those that are in neither split of the present one.
    """

    def __init__(
        self,
        path: str | Path,
        patch_size: Sequence[int],
        batch_size: int,
        patches_per_image: int | None,
        steps_per_epoch: int | None,
        foreground_fraction: float,
        num_workers: int | None,
        seed: int,
        cache_dir: str | Path,
        cache_limit_gib: float | None,
        normalization: Mapping[str, Any],
        augmentation: Augmentation,
        fold: int | None = None,
        heads: Sequence[str] = ("foreground",),
        replay_fraction: float = 0.0,
        replay_path: str | Path | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= replay_fraction < 1:
            raise ConfigError(
                "data.replay_fraction", f"is {replay_fraction}", "Expected a share, 0 to below 1."
            )
        if (replay_fraction > 0) != (replay_path is not None):
            raise ConfigError(
                "data.replay_fraction",
                f"is {replay_fraction} and data.replay_path is {replay_path}",
                "Give both: data.replay_fraction=0.3 data.replay_path=EARLIER_DATASET/.",
            )
        if not 0 <= foreground_fraction <= 1:
            raise ConfigError(
                "data.foreground_fraction",
                f"is {foreground_fraction}",
                "Expected 0 to 1 (a share).",
            )
        if num_workers is not None and num_workers < 0:
            raise ConfigError("data.num_workers", f"is {num_workers}", "Expected 0 or more.")
        if cache_limit_gib is not None and cache_limit_gib <= 0:
            raise ConfigError("data.cache_limit_gib", f"is {cache_limit_gib}", "Expected above 0.")
        check_rule(normalization)
        monai.data.set_track_meta(False)  # plain tensors: faster, and no file name leaks along
        self.path = path
        self.fold = fold
        self.patch_size = list(patch_size)
        self.batch_size = int(batch_size)
        self.patches_per_image = patches_per_image
        self.steps_per_epoch = steps_per_epoch
        self.foreground_fraction = float(foreground_fraction)
        self.num_workers = num_workers
        self.seed = seed
        classes = class_names(list(heads))
        self.store = ImageCache(cache_dir, cache_limit_gib, classes=bool(classes))
        self.rule = dict(normalization)
        self.augmentation = augmentation
        if unknown := sorted(set(heads) - {"foreground", *MAKERS, *class_heads(classes)}):
            raise ConfigError(
                "data.heads",
                f"{', '.join(unknown)}",
                f"Expected foreground, {', '.join(MAKERS)}; or classes, with model=semantic.",
            )
        self.heads = tuple(heads)
        self.replay_fraction = float(replay_fraction)
        self.replay_path = replay_path
        self._train: PatchDataset | None = None
        self._valid: WholeImages | None = None

    def prepare_data(self) -> None:
        """Fill the store in the first process, before the others read it."""
        self.setup("fit")

    def setup(self, stage: str) -> None:
        """Read the manifest and open the images (building their store entries if need be)."""
        if self._train is not None:
            return
        dataset = read_dataset(self.path, self.fold)
        earlier = list(replay_rows(self.replay_path, dataset)) if self.replay_path else []
        count = len(dataset["train"]) + len(earlier)
        rows = [*dataset["train"], *earlier, *dataset["valid"]]
        entries = self.store.entries(rows, progress=True)
        _refuse_excluded(str(dataset["train"].path), rows[:count], entries[:count])
        made = [head for head in self.heads if head in MAKERS]
        if made:
            log.info("objects of %d images: %s", len(entries), ", ".join(made))
            jobs = [(entry, head) for entry in entries for head in made]
            for _ in run_parallel(_make_map, jobs, large=True):
                pass
        schedule = PatchSchedule(
            [entry.shape for entry in entries[:count]],
            self.patch_size,
            self.batch_size,
            self.patches_per_image,
            self.steps_per_epoch,
            self.seed,
            len(earlier),
            self.replay_fraction,
        )
        self._train = PatchDataset(
            entries[:count],
            [entry.intensity_stats(self.rule) for entry in entries[:count]],
            self.patch_size,
            schedule,
            self.foreground_fraction,
            self.augmentation,
            self.seed,
            self.heads,
        )
        self._valid = WholeImages(entries[count:], self.rule, self.heads)
        shares = schedule.counts / schedule.counts.sum() * schedule.length
        log.info(
            "%d patches an epoch, %.0f to %.0f from an image",
            schedule.length,
            np.floor(shares.min()),
            np.ceil(shares.max()),
        )
        if earlier:
            log.info(
                "%.0f%% of them from %d earlier images", 100 * self.replay_fraction, len(earlier)
            )

    @property
    def patches(self) -> PatchDataset:
        """The training patches."""
        if self._train is None:
            self.setup("fit")
        return cast(PatchDataset, self._train)

    def train_dataloader(self) -> PatchLoader:
        """Return batches: image (B, C, ...), target (B, K, ...), weight (B, 1, ...)."""
        trainer = self.trainer
        on_gpu = trainer is not None and trainer.strategy.root_device.type == "cuda"
        accelerated = trainer is not None and trainer.strategy.root_device.type != "cpu"
        rank, world = self._place()
        return PatchLoader(
            self.patches,
            self.patches.schedule.length,
            self.batch_size,
            default_workers(accelerated) if self.num_workers is None else self.num_workers,
            rank=rank,
            world=world,
            pin=on_gpu,
        )

    def val_dataloader(self) -> DataLoader:
        """Return whole images, one at a time; of several processes each has its share."""
        if self._valid is None:
            self.setup("fit")
        share = ImageShard(cast(WholeImages, self._valid), *self._place())
        return DataLoader(share, batch_size=1)

    def _place(self) -> tuple[int, int]:
        """Return which process this is, and how many there are."""
        trainer = self.trainer
        return (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)


def _make_map(job: tuple[CachedImage, str]) -> None:
    """Make what a head learns of an image, unless it is there."""
    entry, head = job
    entry.map(head)


def _refuse_excluded(path: str, rows: Sequence[Row], entries: Sequence[CachedImage]) -> None:
    """Refuse training images of which nothing counts: no patch could be taken."""
    problems = [
        f"{row.id}: every voxel is excluded"
        for row, entry in zip(rows, entries, strict=True)
        if entry.places is not None and not len(entry.places)
    ]
    if problems:
        raise ManifestError(path, problems, "Shrink the excluding mask, or reject these rows.")
