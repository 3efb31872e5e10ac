"""The Lightning data module: patches and whole images of a curated data set."""

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
from cytoloop.data.settings import SamplingSettings, check_settings, resampled_spacing
from cytoloop.data.target_maps import TARGET_MAPS
from cytoloop.errors import ConfigError, ManifestError
from cytoloop.intensity.normalization import check_rule
from cytoloop.intensity.preparation import Preparation, step_names
from cytoloop.manifest import Row, read_dataset
from cytoloop.truth.classes import class_heads, class_names
from cytoloop.workers.local import run_parallel

log = logging.getLogger(__name__)


class ManifestDataModule(LightningDataModule):
    """Random patches of the training images, whole images of the validation images.

    Hydra instantiates this class from the config group ``data``: one keyword for each key.

    Parameters
    ----------
    path : str or Path
        Curated data set, see `cytoloop.manifest.read_dataset`.
    patch_size, batch_size, patches_per_image, steps_per_epoch, foreground_fraction, seed
        See `cytoloop.data.settings.SamplingSettings`.
    cache_dir : str or Path
        Folder of the image cache, see `cytoloop.data.image_cache`.
    cache_limit_gib : float or None
        Maximum size of the image cache in GiB; None for no limit.
    normalization : mapping
        See `cytoloop.intensity.normalization`.
    augmentation : Augmentation
    preparation : Preparation, optional
        Functions of the user that change each normalised image, in training and prediction.
    num_workers : int or None
        Threads that prepare patches. 0: patches are prepared by the training thread. None: depends
        on the CPU cores and the accelerator.
    fold : int, optional
        Fold of a cross-validation that is used for validation.
    heads : sequence of str
        Heads of the network: ``foreground`` and maps of `cytoloop.data.target_maps`; or classes,
        see `cytoloop.truth.classes`.
    replay_fraction : float
        Fraction of patches from an earlier data set, [0, 1). It keeps the network from forgetting
        that data set.
    replay_path : str or Path, optional
        Earlier data set, see `cytoloop.data.replay`.
    resample : sequence of float or str, optional
        Voxel size ([Z,] Y, X) in um that all images are resampled to. None: as they are, also for
        ``auto``, which `cytoloop train` has replaced by its choice.
    planes : bool, str or None
        Which planes of stacks are 2D pictures, see `cytoloop.manifest.plane_cell`.

    Raises
    ------
    ConfigError
        Invalid values; all of them.
    """

    def __init__(
        self,
        *,
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
        preparation: Preparation | None = None,
        fold: int | None = None,
        heads: Sequence[str] = ("foreground",),
        replay_fraction: float = 0.0,
        replay_path: str | Path | None = None,
        resample: Sequence[float] | str | None = None,
        planes: bool | str | None = None,
    ) -> None:
        super().__init__()
        sampling: dict[str, Any] = {
            "patch_size": patch_size,
            "batch_size": batch_size,
            "patches_per_image": patches_per_image,
            "steps_per_epoch": steps_per_epoch,
            "foreground_fraction": foreground_fraction,
            "replay_fraction": replay_fraction,
        }
        loading = {"num_workers": num_workers, "cache_limit_gib": cache_limit_gib}
        check_settings(sampling | loading | {"replay_path": replay_path, "resample": resample})
        check_rule(normalization)
        classes = _check_heads(heads)
        monai.data.set_track_meta(False)  # plain tensors: faster, and without file names
        self.path = path
        self.fold = fold
        self.planes = planes
        self.sampling = SamplingSettings(**sampling | {"patch_size": list(patch_size)}, seed=seed)
        self.num_workers = num_workers
        self.cache = ImageCache(
            cache_dir,
            cache_limit_gib,
            classes=bool(classes),
            spacing_um=resampled_spacing(resample),
        )
        self.normalization = dict(normalization)
        self.augmentation = augmentation
        self.preparation = preparation
        self.heads = tuple(heads)
        self.replay_path = replay_path
        self._train: PatchDataset | None = None
        self._valid: WholeImages | None = None

    def prepare_data(self) -> None:
        """Fill the image cache in the first process, before other processes read it."""
        self.setup("fit")

    def setup(self, stage: str) -> None:
        """Read the manifest, open the images and make both data sets."""
        if self._train is not None:
            return
        dataset = read_dataset(self.path, self.fold, self.planes)
        replayed: list[Row] = []
        if self.replay_path:
            replayed = list(replay_rows(self.replay_path, dataset, self.planes))
        train_rows = [*dataset["train"], *replayed]
        images = self.cache.entries([*train_rows, *dataset["valid"]], progress=True)
        train, valid = images[: len(train_rows)], images[len(train_rows) :]
        _refuse_excluded(str(dataset["train"].path), train_rows, train)
        self._compute_target_maps(images)
        rule: dict[str, Any] = self.normalization
        if self.preparation:
            log.info("preparing %d images: %s", len(images), step_names(self.preparation.steps))
            jobs = [(cached, self.preparation, rule) for cached in images]
            found = dict(run_parallel(_prepare_image, jobs, threads=True))
            images = [found[number] for number in range(len(jobs))]
            train, valid = images[: len(train_rows)], images[len(train_rows) :]
            if self.preparation.functions:
                rule = {"method": "none"}  # the image that functions return is normalised
        schedule = PatchSchedule([cached.shape for cached in train], self.sampling, len(replayed))
        intensity = [cached.intensity_stats(rule) for cached in train]
        self._train = PatchDataset(train, intensity, schedule, self.augmentation, self.heads)
        self._valid = WholeImages(valid, rule, self.heads)
        shares = schedule.counts / schedule.counts.sum() * schedule.length
        log.info(
            "%d patches per epoch, %.0f to %.0f from each image",
            schedule.length,
            np.floor(shares.min()),
            np.ceil(shares.max()),
        )
        if replayed:
            percent = 100 * self.sampling.replay_fraction
            log.info("%.0f%% of the patches from %d replayed images", percent, len(replayed))

    def _compute_target_maps(self, images: Sequence[CachedImage]) -> None:
        """Compute the target maps of all images that are not in the cache yet, in parallel."""
        maps = [head for head in self.heads if head in TARGET_MAPS]
        if maps:
            log.info("target maps of %d images: %s", len(images), ", ".join(maps))
            jobs = [(cached, head) for cached in images for head in maps]
            for _ in run_parallel(_compute_target_map, jobs, threads=True):
                pass

    @property
    def patches(self) -> PatchDataset:
        """The training patches."""
        if self._train is None:
            self.setup("fit")
        return cast(PatchDataset, self._train)

    def first_image(self) -> CachedImage:
        """Return the first training image as it was read, before its preparation."""
        rows = read_dataset(self.path, self.fold, self.planes)["train"].rows[:1]
        return self.cache.entries(rows)[0]

    def train_dataloader(self) -> PatchLoader:
        """Return batches: image (B, C, ...), target (B, K, ...), weight (B, 1, ...)."""
        device = "cpu" if self.trainer is None else self.trainer.strategy.root_device.type
        workers = default_workers(device != "cpu") if self.num_workers is None else self.num_workers
        rank, world = self._rank_and_world()
        return PatchLoader(
            self.patches,
            self.patches.schedule.length,
            self.sampling.batch_size,
            workers,
            rank=rank,
            world=world,
            pin=device == "cuda",
        )

    def val_dataloader(self) -> DataLoader:
        """Return whole images, one at a time; each process validates its shard."""
        if self._valid is None:
            self.setup("fit")
        shard = ImageShard(cast(WholeImages, self._valid), *self._rank_and_world())
        return DataLoader(shard, batch_size=1)

    def _rank_and_world(self) -> tuple[int, int]:
        """Return the number of this process and the number of processes."""
        trainer = self.trainer
        return (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)


def _compute_target_map(job: tuple[CachedImage, str]) -> None:
    """Compute a target map, unless it is in the cache."""
    cached, head = job
    cached.target_map(head)


def _prepare_image(job: tuple[CachedImage, Preparation, Mapping[str, Any]]) -> CachedImage:
    """Return a prepared image; it is computed unless it is in the cache."""
    cached, preparation, normalization = job
    if preparation.functions:
        return cached.prepared(preparation, normalization)
    return cached.filtered_by(preparation)


def _check_heads(heads: Sequence[str]) -> tuple[str, ...]:
    """Return the classes that the heads predict; empty if the heads are not classes.

    Raises
    ------
    ConfigError
        Unknown heads.
    """
    classes = class_names(list(heads))
    if unknown := sorted(set(heads) - {"foreground", *TARGET_MAPS, *class_heads(classes)}):
        raise ConfigError(
            "data.heads",
            f"unknown: {', '.join(unknown)}",
            f"Expected foreground, {', '.join(TARGET_MAPS)}; or classes, with model=semantic.",
        )
    return classes


def _refuse_excluded(path: str, rows: Sequence[Row], images: Sequence[CachedImage]) -> None:
    """Refuse training images without valid voxels: they have no patches.

    Raises
    ------
    ManifestError
        All such images.
    """
    problems = [
        f"{row.id}: every voxel is excluded"
        for row, cached in zip(rows, images, strict=True)
        if cached.valid_points is not None and not len(cached.valid_points)
    ]
    if problems:
        raise ManifestError(path, problems, "Shrink the exclude mask, or reject these rows.")
