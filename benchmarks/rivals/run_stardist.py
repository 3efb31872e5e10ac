# /// script
# requires-python = ">=3.10,<3.13"
# dependencies = ["stardist==0.9.2", "tensorflow-cpu<2.20", "tifffile", "numpy<2.3"]
# ///
"""StarDist, trained from scratch with the settings of its example notebooks.

`compare.py` starts it in an environment of its own: `run_stardist.py FOLDER MINUTES SEED`. Patches
in 3D are smaller than in the notebook: with 48 x 96 x 96 voxels it makes 450 steps in 15 minutes of
two cores, and finds nothing (the highest probability is 0.09).
"""

from __future__ import annotations

import csv
import sys
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
import tifffile
from csbdeep.utils import normalize
from stardist import Rays_GoldenSpiral, calculate_extents, fill_label_holes
from stardist.models import Config2D, Config3D, StarDist2D, StarDist3D


class StopAfter(tf.keras.callbacks.Callback):
    """Stop after a time, also in the middle of an epoch."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.end = time.monotonic() + seconds

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        """Look at the clock."""
        if time.monotonic() > self.end:
            self.model.stop_training = True


def augment(image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flip and turn in the plane, and change the grey levels."""
    for axis in range(labels.ndim):
        if np.random.rand() < 0.5:
            image, labels = np.flip(image, axis), np.flip(labels, axis)
    if image.shape[-1] == image.shape[-2] and np.random.rand() < 0.5:
        image, labels = np.swapaxes(image, -1, -2), np.swapaxes(labels, -1, -2)
    return image * np.random.uniform(0.6, 2) + np.random.uniform(-0.2, 0.2), labels


def main() -> None:
    folder, minutes, seed = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    started = time.monotonic()
    np.random.seed(seed)
    tf.random.set_seed(seed)
    with (folder / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    data: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"train": [], "valid": []}
    for row in rows:
        if row["split"] in data:
            image = normalize(tifffile.imread(folder / row["image"]), 1, 99.8)
            labels = fill_label_holes(tifffile.imread(folder / row["labels"]).astype(np.int32))
            data[row["split"]].append((image, labels))
    images, labels = zip(*data["train"], strict=True)
    dims = images[0].ndim
    extents = calculate_extents(list(labels))
    anisotropy = tuple(float(one) for one in np.max(extents) / extents)
    grid = tuple(1 if one > 1.5 else 2 for one in anisotropy)
    smallest = np.min([one.shape for one in images], axis=0)
    patch = tuple(
        int(min(side, wanted) // 16 * 16 or side)
        for side, wanted in zip(smallest, (32, 64, 64) if dims == 3 else (256, 256), strict=True)
    )
    if dims == 3:
        rays = Rays_GoldenSpiral(96, anisotropy=anisotropy)
        config = Config3D(
            rays=rays, grid=grid, anisotropy=anisotropy, n_channel_in=1,
            train_patch_size=patch, train_batch_size=2,
        )  # fmt: skip
        model = StarDist3D(config, name="model", basedir=str(folder))
    else:
        config = Config2D(
            n_rays=32, grid=(2, 2), n_channel_in=1, train_patch_size=patch, train_batch_size=4
        )
        model = StarDist2D(config, name="model", basedir=str(folder))
    model.prepare_for_training()
    model.callbacks.append(StopAfter(60 * minutes - (time.monotonic() - started)))
    model.train(
        list(images), list(labels), validation_data=tuple(zip(*data["valid"], strict=True)),
        augmenter=augment, epochs=10_000, steps_per_epoch=50, seed=seed,
    )  # fmt: skip
    model.optimize_thresholds(*zip(*data["valid"], strict=True))
    (folder / "predictions").mkdir()
    for row in rows:
        if row["split"] == "score":
            image = normalize(tifffile.imread(folder / row["image"]), 1, 99.8)
            found, _ = model.predict_instances(image)
            tifffile.imwrite(folder / "predictions" / f"{row['id']}.tif", found.astype(np.uint16))


if __name__ == "__main__":
    main()
