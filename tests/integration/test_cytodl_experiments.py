"""CytoDL's own experiments train, resume and predict with `cytoloop`."""

from __future__ import annotations

import csv
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from conftest import make_blobs, write_tiff
from mlflow import MlflowClient

import cytoloop
from cytoloop.__main__ import main
from cytoloop.cli.cytodl_experiments import config_folder
from cytoloop.errors import ManifestError
from cytoloop.manifest import read_manifest

EPOCH = ["trainer.accelerator=cpu", "trainer.max_epochs=1", "data.num_workers=0", "seed=1"]
QUIET = ["~callbacks.model_summary"]
PATCH = "data._aux.patch_shape"
RUNS = {
    "segmentation": [f"{PATCH}=[4,8,8]"],
    "labelfree": ["source_col=raw", "target_col=seg", f"{PATCH}=[4,8,8]"],
    "instance_seg": [f"{PATCH}=[4,8,8]"],
    "gan": [f"{PATCH}=[8,16,16]"],  # the discriminator needs this size
    "mae": [f"{PATCH}=[8,8,8]", "model.backbone.num_patches=4"],
}
REFUSED_BY_PREDICT = {"gan": "has layers outside the network"}
RESULTS = {"segmentation": "probability", "labelfree": "intensity", "instance_seg": "labels"}
NEEDS = {"mae": "torchvision"}  # by timm
"""Experiment to its overrides, for the images of `channel_images`."""


def write_tables(folder: Path, rows: list[dict[str, str]]) -> Path:
    for split, part in (("train", rows[:2]), ("val", rows[2:3]), ("test", rows[2:3])):
        with (folder / f"{split}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(part)
    return folder


def channel_images(folder: Path) -> Path:
    """Write images with the seven channels that CytoDL's experiments expect, and tables."""
    folder.mkdir()
    rows = []
    for number in range(3):
        raw, labels = make_blobs((32, 64, 64), 6, seed=number, radius=9)
        channels = np.stack([np.roll(raw, shift, 1) for shift in range(7)])
        files = {"raw": channels, "seg": np.stack([labels] * 6)}
        for name, data in files.items():
            path = folder / f"{name}_{number}.ome.tif"
            tifffile.imwrite(path, data, ome=True, metadata={"axes": "CZYX"})
        rows.append({name: str(folder / f"{name}_{number}.ome.tif") for name in files})
    return write_tables(folder, rows)


def plugin_images(folder: Path, shape: tuple[int, ...]) -> Path:
    """Write images and tables with the columns of the Segmenter ML plugin."""
    rows = []
    for number in range(3):
        raw, labels = make_blobs(shape, 5, seed=number)
        cells = {
            "raw": str(write_tiff(folder / f"raw_{number}.tif", raw)),
            "seg1": str(write_tiff(folder / f"seg_{number}.tif", labels)),
        }
        rows.append(cells | dict.fromkeys(("seg2", "merge_mask", "exclude_mask"), ""))
        rows[-1]["base_image"] = "seg1"
    return write_tables(folder, rows)


def check_run(output: Path) -> None:
    """Check the files of a training and its MLflow run."""
    for name in ("best", "last"):
        assert (output / "checkpoints" / f"{name}.ckpt").is_file()
    assert (output / "finished").is_file() and not (output / "training.json").exists()
    events = [json.loads(line) for line in (output / "progress.jsonl").read_text().splitlines()]
    assert events[-1]["event"] == "end" and events[-1]["spent"] == 1
    assert any(one["event"] == "validation" and one["scores"] for one in events)
    run = MlflowClient().get_run((output / "run_id").read_text().strip())
    assert run.info.status == "FINISHED"
    assert "trainer.max_epochs" in run.data.params and "train/loss_epoch" in run.data.metrics
    (scores,) = [one["scores"] for one in events if one["event"] == "validation"][-1:]
    assert all(value is not None for value in scores.values())
    logged = {name for name in scores if "epoch" in name}
    assert logged <= set(run.data.metrics) and "val/loss_epoch" in scores
    assert run.data.tags["cytoloop.task"].startswith("im2im/")
    assert run.data.tags["cytoloop.round"] == "0"
    assert len(run.inputs.dataset_inputs) == 1
    stored = {file.path for file in MlflowClient().list_artifacts(run.info.run_id, "checkpoints")}
    assert stored == {"checkpoints/best.ckpt", "checkpoints/last.ckpt"}


@pytest.mark.parametrize(
    "experiment", sorted(p.stem for p in (config_folder() or Path()).glob("experiment/im2im/*"))
)
def test_every_image_experiment_composes_of_cytodl_groups(
    experiment: str, project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [f"experiment=im2im/{experiment}", "spatial_dims=3", "output=out", "--cfg", "job"]
    status = main(["train", *words])
    text = capfd.readouterr()
    assert status == 0, text.err
    assert "RichProgressBar" in text.out and "CSVLogger" in text.out  # CytoDL's default groups
    assert "output_dir: ${hydra:runtime.output_dir}" in text.out
    assert "budget_minutes" not in text.out and "postprocess: tuned" not in text.out


def test_experiment_of_the_user_takes_cytodl_groups(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = """# @package _global_
defaults:
  - override /data: im2im/segmentation.yaml
  - override /model: im2im/segmentation.yaml
  - override /callbacks: default.yaml
  - override /trainer: cpu.yaml
source_col: raw
target_col: seg
spatial_dims: 3
raw_im_channels: 2
data:
  _aux:
    patch_shape: [16, 32, 32]
"""
    (project / "experiments/experiment").mkdir(parents=True)
    (project / "experiments/experiment/mine.yaml").write_text(text)
    assert main(["train", "experiment=mine", "--cfg", "job"]) == 0
    text = capfd.readouterr().out
    assert (
        "RichProgressBar" in text and "raw_im_channels: 2" in text and "postprocess: t" not in text
    )


@pytest.mark.slow
@pytest.mark.parametrize("experiment", RUNS)
def test_experiment_trains_an_epoch(
    experiment: str, project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = channel_images(project / "data")
    words = [f"experiment=im2im/{experiment}", f"data.path={data}", "output=out", *EPOCH, *QUIET]
    package = NEEDS.get(experiment, "torch")
    if importlib.util.find_spec(package) is None:
        assert main(["train", *words, *RUNS[experiment]]) == 2
        assert f"needs the package {package}, which is not installed" in capfd.readouterr().err
        assert not (project / "out/run_id").exists()
        return
    assert main(["train", *words, *RUNS[experiment]]) == 0
    check_run(project / "out")
    assert (project / "out/csv/version_0/metrics.csv").is_file()

    words = ["checkpoint=out", f"input={data}/raw_2.ome.tif", "channel=5", "accelerator=cpu"]
    refused = REFUSED_BY_PREDICT.get(experiment)
    assert main(["predict", *words, "output=predictions"]) == (2 if refused else 0)
    if refused:
        assert refused in capfd.readouterr().err
        return
    (row,) = read_manifest(project / "predictions/predictions.csv", ("id",))
    found = tifffile.imread(project / "predictions" / row[RESULTS[experiment]])
    assert found.shape == (32, 64, 64)  # not that of the zoomed image
    assert (found.dtype == np.float32) == (experiment == "labelfree")
    if experiment == "labelfree":
        assert not row["probability"] and not row["labels"]
        words = ["reprocess=predictions/predictions.csv", "output=again"]
        assert main(["predict", *words]) == 2
        assert "is of a model whose maps are not stored" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("dims", [2, 3])
def test_segmentation_plugin_trains_resumes_and_predicts(dims: int, project: Path) -> None:
    shape = (16, 64, 64)[-dims:]
    data = plugin_images(project / "data", shape)
    words = ["experiment=im2im/segmentation_plugin", f"spatial_dims={dims}", f"data.path={data}"]
    words += ["output=out", "model._aux.filters=[4,8,16]", f"{PATCH}={[8, 32, 32][-dims:]}"]
    assert main(["train", *words, *EPOCH, *QUIET, "data.batch_size=1"]) == 0
    check_run(project / "out")

    first = (project / "out/run_id").read_text()
    assert main(["train", "resume=out", "trainer.max_epochs=2"]) == 0
    assert (project / "out/run_id").read_text() == first
    check_run(project / "out")
    metrics = MlflowClient().get_metric_history(first.strip(), "val/loss_epoch")
    assert len(metrics) == 2
    assert sorted(p.name for p in (project / "out/checkpoints").glob("last*")) == [
        *("last-1.ckpt", "last.ckpt"),
    ]

    checkpoint = f"checkpoint=runs:/{first.strip()}"
    words = [checkpoint, f"input={data}/raw_2.tif", "output=predictions", "accelerator=cpu"]
    assert main(["predict", *words]) == 0
    (found,) = (project / "predictions/probability").glob("*.tif")
    assert tifffile.imread(found).shape == shape


def make_arrays(count: int) -> list[dict[str, np.ndarray]]:
    pairs = [make_blobs((8, 32, 32), 5, seed=seed) for seed in range(count)]
    return [{"raw": raw[None].astype(np.float32), "seg": seg[None]} for raw, seg in pairs]


@pytest.mark.slow
def test_arrays_and_files_train_in_python(project: Path) -> None:
    keys = {"trainer": "cpu", "trainer.max_epochs": 1, PATCH: [4, 16, 16], "callbacks": "default"}
    keys |= {"model.backbone.filters": [4, 8, 16], "~callbacks.model_summary": None}
    arrays = {"train": make_arrays(2), "val": make_arrays(1)}
    name = "im2im/segmentation_array"
    found = cytoloop.train(arrays, experiment=name, output="out", **keys)
    check_run(project / "out")
    assert found.checkpoint == project / "out/checkpoints/best.ckpt" and found.scores
    image = arrays["val"][0]["raw"][0]
    assert cytoloop.predict(image, found.checkpoint).probability.shape == image.shape

    data = plugin_images(project / "data", (64, 64))
    files = {"data.path": data, "data.num_workers": 0, PATCH: [32, 32], "spatial_dims": 2}
    keys |= files | {"model._aux.filters": keys.pop("model.backbone.filters")}
    keys["trainer.accelerator"] = "cpu"
    del keys["trainer"]
    found = cytoloop.train(experiment="im2im/segmentation_plugin", output="files", **keys)
    assert found.checkpoint.is_file()


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        (None, "a command cannot pass"),
        ({"train": make_arrays(1)}, "no images for 'val'"),
        ({"train": make_arrays(1), "valid": []}, "'valid' is not one of train, val"),
        ({"train": [np.zeros((1, 8, 8))], "val": make_arrays(1)}, "expected a mapping of key"),
        ({"train": [{"raw": np.zeros(3)}], "val": make_arrays(1)}, r"raw: float64 \[3\], expected"),
    ],
)
def test_wrong_arrays_are_refused_before_a_run_opens(
    arrays: Any, problem: str, project: Path
) -> None:
    with pytest.raises(ManifestError, match=problem):
        cytoloop.train(arrays, experiment="im2im/segmentation_array", output="out", trainer="cpu")
    assert not (project / "mlflow.db").exists()
