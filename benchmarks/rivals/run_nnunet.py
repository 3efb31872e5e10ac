# /// script
# requires-python = ">=3.10,<3.13"
# dependencies = ["nnunetv2==2.8.1", "torch==2.13.0", "tifffile", "scikit-image", "scipy"]
# ///
"""nnU-Net, planned and trained by its own code; objects by cores, borders and a watershed.

`compare.py` starts it in an environment of its own: `run_nnunet.py FOLDER MINUTES SEED`. nnU-Net
has no objects: it learns background, border (the outermost voxel of an object) and core, as is
usual for nuclei. Cores flood the foreground; objects below 5 % of the mean training object are
left out, as in CytoLoop. The schedule of the learning rate is fitted to the
time: the first epoch is measured. It is planned for a GPU of 1 GB: the default plan of 8 GB, eight
times as many voxels in a step, would make some 60 steps in the time. It predicts without mirrored
images, as the others do.
"""

from __future__ import annotations

import csv
import json
import os
import sys
import time
from pathlib import Path

os.environ.update(nnUNet_compile="f", nnUNet_n_proc_DA="1", nnUNet_def_n_proc="1")
FOLDER, MINUTES, SEED = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
for name in ("raw", "preprocessed", "results"):
    (FOLDER / name).mkdir(exist_ok=True)  # processes of nnU-Net come here again
    os.environ[f"nnUNet_{name}"] = str(FOLDER / name)

import numpy as np  # noqa: E402
import tifffile  # noqa: E402
import torch  # noqa: E402
from nnunetv2.experiment_planning.plan_and_preprocess_api import (  # noqa: E402
    extract_fingerprints,
    plan_experiments,
    preprocess,
)
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor  # noqa: E402
from nnunetv2.run.run_training import get_trainer_from_args  # noqa: E402
from scipy import ndimage  # noqa: E402
from skimage.segmentation import find_boundaries, watershed  # noqa: E402

DATASET = "Dataset001_images"
STEPS, VALIDATION_STEPS = 10, 2
"""Of an epoch: nnU-Net's 250 would not end in minutes on a CPU."""


def write(path: Path, data: np.ndarray, spacing: str) -> None:
    """Write a TIFF, and for a stack its voxel size as nnU-Net's reader expects it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, data)
    if data.ndim == 3:
        sizes = [float(one) for one in spacing.split()] or [1.0, 1.0, 1.0]
        stem = path.name.removesuffix(".tif").removesuffix("_0000")
        path.with_name(f"{stem}.json").write_text(json.dumps({"spacing": sizes}))


def prepare(rows: list[dict[str, str]]) -> str:
    """Write the data set, plan and preprocess it; return the configuration."""
    raw = FOLDER / "raw" / DATASET
    learned = [row for row in rows if row["split"] != "score"]
    for row in rows:
        image = tifffile.imread(FOLDER / row["image"])
        kind = "imagesTs" if row["split"] == "score" else "imagesTr"
        write(raw / kind / f"{row['id']}_0000.tif", image, row["spacing_um"])
        if row["labels"]:
            labels = tifffile.imread(FOLDER / row["labels"])
            classes = 2 * (labels > 0).astype(np.uint8)
            classes[find_boundaries(labels, mode="inner")] = 1
            write(raw / "labelsTr" / f"{row['id']}.tif", classes, row["spacing_um"])
    (raw / "dataset.json").write_text(
        json.dumps(
            {
                "channel_names": {"0": "raw"},
                "labels": {"background": 0, "border": 1, "core": 2},
                "numTraining": len(learned),
                "file_ending": ".tif",
            }
        )
    )
    configuration = "3d_fullres" if image.ndim == 3 else "2d"
    extract_fingerprints([1], num_processes=1)
    plans = plan_experiments([1], gpu_memory_target_in_gb=1.0)
    preprocess([1], plans, configurations=(configuration,), num_processes=(1,))
    splits = {
        "train": [row["id"] for row in rows if row["split"] == "train"],
        "val": [row["id"] for row in rows if row["split"] == "valid"],
    }
    (FOLDER / "preprocessed" / DATASET / "splits_final.json").write_text(json.dumps([splits]))
    return configuration


def train(configuration: str, seconds: float) -> Path:
    """Train for a time; return the folder of the model."""
    end = time.monotonic() + seconds
    trainer = get_trainer_from_args("1", configuration, 0, device=torch.device("cpu"))
    trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = STEPS, VALIDATION_STEPS
    trainer.on_train_start()
    epoch = 0
    while epoch == 0 or time.monotonic() < end:
        began = time.monotonic()
        trainer.on_epoch_start()
        trainer.on_train_epoch_start()
        steps = [trainer.train_step(next(trainer.dataloader_train)) for _ in range(STEPS)]
        trainer.on_train_epoch_end(steps)
        with torch.no_grad():
            trainer.on_validation_epoch_start()
            batches = [next(trainer.dataloader_val) for _ in range(VALIDATION_STEPS)]
            trainer.on_validation_epoch_end([trainer.validation_step(one) for one in batches])
        trainer.on_epoch_end()
        if epoch == 0:
            left = max(end - time.monotonic(), 0) / (time.monotonic() - began)
            trainer.lr_scheduler.max_steps = trainer.num_epochs = max(int(left) + 1, 2)
        epoch += 1
        if epoch >= trainer.num_epochs:
            break
    trainer.on_train_end()
    return Path(trainer.output_folder_base)


def predict(model: Path, rows: list[dict[str, str]]) -> None:
    """Predict the images to score, and write their objects."""
    predictor = nnUNetPredictor(
        device=torch.device("cpu"), perform_everything_on_device=False, use_mirroring=False
    )
    predictor.initialize_from_trained_model_folder(str(model), (0,), "checkpoint_final.pth")
    folder = FOLDER / "classes"
    predictor.predict_from_files(
        str(FOLDER / "raw" / DATASET / "imagesTs"),
        str(folder),
        num_processes_preprocessing=1,
        num_processes_segmentation_export=1,
    )
    (FOLDER / "predictions").mkdir()
    least = 0.05 * mean_voxels(rows)
    for row in rows:
        if row["split"] == "score":
            classes = tifffile.imread(folder / f"{row['id']}.tif")
            cores, _ = ndimage.label(classes == 2)
            depth = ndimage.distance_transform_edt(classes > 0)
            objects = watershed(-depth, cores, mask=classes > 0)
            objects[np.bincount(objects.ravel())[objects] < least] = 0
            tifffile.imwrite(FOLDER / "predictions" / f"{row['id']}.tif", objects.astype(np.uint16))


def mean_voxels(rows: list[dict[str, str]]) -> float:
    """Return the mean size of the training objects, in voxels."""
    sizes = [
        np.bincount(tifffile.imread(FOLDER / row["labels"]).ravel())[1:]
        for row in rows
        if row["split"] == "train"
    ]
    every = np.concatenate(sizes)
    return float(every[every > 0].mean())


def main() -> None:
    """Prepare, train and predict; planning and preprocessing count as training time."""
    started = time.monotonic()
    np.random.seed(SEED)
    torch.manual_seed(SEED)
    with (FOLDER / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    configuration = prepare(rows)
    predict(train(configuration, 60 * MINUTES - (time.monotonic() - started)), rows)


if __name__ == "__main__":
    main()
