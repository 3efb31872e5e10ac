"""The loop as users run it: commands in a folder, real files, a real MLflow store."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from cytoloop.__main__ import main
from cytoloop.io.labels import read_labels
from cytoloop.io.read import read_header, read_image

TINY = [
    "model/size=small",
    "data.batch_size=2",
    "data.steps_per_epoch=8",
    "trainer.precision=32",
    "augmentation=light",
]
TINY_3D = [*TINY, "experiment=nuclei_3d", "data.patch_size=[8,32,32]"]
TINY_2D = [*TINY, "experiment=nuclei_2d", "data.patch_size=[32,32]"]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images, a data set and one trained model."""
    from conftest import make_images, working_in

    folder = tmp_path_factory.mktemp("project")
    make_images(folder / "images", 6)
    with working_in(folder):
        assert run("curate", "raw=images/raw", "seg1=images/seg", "output=dataset") == 0
        assert run("train", *TINY_3D, "data.path=dataset", "output=m0", "trainer.max_epochs=6") == 0
    return folder


@pytest.fixture
def project(workspace: Path) -> Iterator[Path]:
    from conftest import working_in

    with working_in(workspace):
        yield workspace


def run(*words: str) -> int:
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    return main(list(words))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def run_id(folder: Path) -> str:
    return (folder / "run_id").read_text().strip()


def client(project: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{project}/mlflow.db")


def test_curation_splits_into_disjoint_manifests(project: Path) -> None:
    ids = [
        row["id"]
        for s in ("train", "valid", "test")
        for row in rows_of(project / f"dataset/{s}.csv")
    ]
    assert sorted(ids) == [f"img_{n}" for n in range(6)]


def test_training_leaves_checkpoints_and_a_run_that_tells_all(project: Path) -> None:
    run_info = client(project).get_run(run_id(project / "m0"))
    assert run_info.info.status == "FINISHED"
    assert run_info.data.params["model.backbone.strides"] == "[1, [1, 2, 2], 2]"
    assert run_info.data.params["data.patch_size"] == "[8, 32, 32]"
    assert {"val/loss", "val/dice", "val/iou", "train/loss"} <= set(run_info.data.metrics)
    assert run_info.data.metrics["val/dice"] > 0.6
    assert len(run_info.data.tags["cytoloop.data_hash"]) == 64
    assert run_info.inputs.dataset_inputs[0].dataset.name == "dataset"
    stored = {f.path for f in client(project).list_artifacts(run_id(project / "m0"), "checkpoints")}
    assert stored == {"checkpoints/best.ckpt", "checkpoints/last.ckpt"}
    assert (project / "m0/checkpoints/best.ckpt").is_file()
    log = (project / "m0/train.log").read_text()
    assert "val/pq" in log and "Traceback" not in log


def test_training_leaves_its_progress_as_json_lines(project: Path) -> None:
    lines = [json.loads(line) for line in (project / "m0" / "progress.jsonl").open()]
    assert lines[0]["event"] == "start" and lines[-1]["event"] == "end"
    validations = [line for line in lines if line["event"] == "validation"]
    assert [line["epoch"] for line in validations] == list(range(6))
    metrics = client(project).get_run(run_id(project / "m0")).data.metrics
    assert validations[-1]["scores"]["val/dice"] == pytest.approx(metrics["val/dice"])
    steps = [line for line in lines if line["event"] == "step"]
    assert len(steps) == lines[-1]["step"] // 10 > 0
    assert all(line["loss"] > 0 and line["lr"] > 0 for line in steps)
    assert [line["step"] for line in lines] == sorted(line["step"] for line in lines)
    assert lines[-1]["spent"] == 1 and lines[-1]["seconds_left"] == 0
    assert 0 <= metrics["train/data_wait"] < 1


def test_checkpoint_keys_and_hparams_are_plain(project: Path) -> None:
    content = torch.load(project / "m0/checkpoints/best.ckpt", weights_only=True)
    assert {k.split(".")[0] for k in content["state_dict"]} <= {"backbone", "task_heads"}
    assert content["hyper_parameters"]["image"]["spacing_um"] == pytest.approx([0.6, 0.3, 0.3])


def test_predict_and_evaluate_by_run_id(project: Path) -> None:
    model = f"checkpoint=runs:/{run_id(project / 'm0')}"
    assert run("predict", model, "input=dataset/test.csv", "output=preds") == 0
    (row,) = rows_of(project / "preds/predictions.csv")
    assert row["status"] == "done" and row["run_id"] == f"runs:/{run_id(project / 'm0')}"
    for kind in ("probability", "mask", "labels"):
        header = read_header(project / "preds" / row[kind])
        assert header.spatial == (12, 40, 40)
        assert header.spacing_um == pytest.approx((0.6, 0.3, 0.3), rel=1e-3)
    probability = read_image(project / "preds" / row["probability"]).data[0]
    mask = read_labels(project / "preds" / row["mask"])
    np.testing.assert_array_equal(mask > 0, probability > float(row["threshold"]) * 255)
    tuned = torch.load(project / "m0/checkpoints/best.ckpt", weights_only=True)
    tuned = tuned["hyper_parameters"]["image"]["tuned"]
    assert float(row["threshold"]) == pytest.approx(tuned["threshold"], abs=1e-4)
    metrics = client(project).get_run(run_id(project / "m0")).data.metrics
    assert metrics["tuned/dice"] == tuned["dice"] > 0.6
    words = ["predictions=preds/predictions.csv", "truth=dataset/test.csv", "output=eval"]
    assert run("eval", *words) == 0
    summary = json.loads((project / "eval/summary.json").read_text())
    assert summary["mean"]["dice"] > 0.6
    assert rows_of(project / "eval/metrics.csv")[0]["id"] == row["id"]
    assert list((project / "eval/overlays").glob("*.png"))
    scores = client(project).get_run(run_id(project / "m0")).data.metrics
    assert scores["test/dice"] == pytest.approx(summary["mean"]["dice"])
    assert scores["test/ece"] == pytest.approx(summary["calibration"]["ece"])
    assert scores["test/pooled/n_truth"] == summary["pooled"]["n_truth"]
    assert (scores["test/scored"], scores["test/unscored"]) == (1, 0)
    latest = client(project).get_run(run_id(project / "m0")).data.tags["cytoloop.evaluation"]
    stored = client(project).list_artifacts(run_id(project / "m0"), latest)
    names = {Path(one.path).name for one in stored}
    assert {"metrics.csv", "objects.csv", "report.html", "reliability.png"} <= names
    words = [f"a=runs:/{run_id(project / 'm0')}", "b=eval", "output=comparison"]
    assert run("compare", *words) == 3  # the same scores, of one image


def test_fine_tuning_starts_where_the_parent_ended(project: Path) -> None:
    parent = run_id(project / "m0")
    words = ["data.path=dataset", "output=m1", "trainer.max_epochs=1", "model.optimizer.lr=1e-5"]
    assert run("train", *TINY_3D, *words, f"init_from=runs:/{parent}") == 0
    child = client(project).get_run(run_id(project / "m1"))
    assert child.data.tags["cytoloop.parent_run"] == parent
    best = client(project).get_run(parent).data.metrics
    history = client(project).get_metric_history(parent, "val/dice")
    # one epoch at a tiny rate keeps what the parent knew
    assert child.data.metrics["val/dice"] > max(m.value for m in history) - 0.1, best


def test_a_checkpoint_of_another_size_is_refused_as_a_start(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [w for w in TINY_3D if w != "model/size=small"] + ["model.backbone.filters=[16,32,64]"]
    status = run("train", *words, "data.path=dataset", "output=m2", "init_from=m0")
    message = capfd.readouterr().err
    assert status == 2 and "do not fit this network" in message and "Traceback" not in message


def test_two_dimensions(tmp_path: Path, images_2d: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("curate", f"raw={images_2d}/raw", f"seg1={images_2d}/seg", "output=ds") == 0
    assert run("train", *TINY_2D, "data.path=ds", "output=m", "trainer.max_epochs=4") == 0
    assert run("predict", "checkpoint=m", f"input={images_2d}/raw/img_0.tif", "output=p") == 0
    assert read_header(tmp_path / "p/labels/img_0.ome.tif").spatial == (48, 56)
    words = ["predictions=p/predictions.csv", f"truth={images_2d}/seg", "output=e"]
    assert run("evaluate", *words) == 0


@pytest.mark.slow
def test_excluded_voxels_leave_the_trained_weights_untouched(
    tmp_path: Path, images_3d: Path, tiff: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    region = np.zeros((40, 40), np.uint8)
    region[:, :15] = 1
    for number in range(5):
        tiff(images_3d / f"exclude/img_{number}.tif", region)
    weights = []
    for attempt in range(2):
        source = [f"raw={images_3d}/raw", f"seg1={images_3d}/seg", f"exclude={images_3d}/exclude"]
        assert run("curate", *source, f"output=ds{attempt}", "test=0") == 0
        words = [*TINY_3D, "trainer.max_epochs=1", f"data.path=ds{attempt}", f"output=m{attempt}"]
        assert run("train", *words, "data.foreground_fraction=0") == 0
        content = torch.load(tmp_path / f"m{attempt}/checkpoints/last.ckpt", weights_only=True)
        weights.append(content["state_dict"])
        for number in range(5):  # the excluded part of every target is now nonsense
            path = images_3d / f"seg/img_{number}.tif"
            labels = read_labels(path)
            labels[:, :, :15] = np.random.default_rng(number).integers(
                0, 9, labels[:, :, :15].shape
            )
            tiff(path, labels)
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_or_killed_run_goes_on_exactly(project: Path, number: signal.Signals) -> None:
    base = [*TINY_3D, "data.path=dataset", "trainer.max_epochs=5", "data.steps_per_epoch=16"]
    name = number.name
    if not (project / "whole").exists():
        assert run("train", *base, "output=whole") == 0
    command = [sys.executable, "-m", "cytoloop", "train", *base, f"output={name}"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    last = project / name / "checkpoints/last.ckpt"
    for _ in range(3000):
        if last.is_file() or process.poll() is not None:
            break
        time.sleep(0.1)
    time.sleep(0.25)  # somewhere in the middle of an epoch
    process.send_signal(number)
    message = process.communicate(timeout=120)[1]
    status = client(project).get_run(run_id(project / name)).info.status
    if number is signal.SIGKILL:
        assert process.returncode == -9 and status == "RUNNING"
    else:
        assert process.returncode == 130 and status == "KILLED"
        assert f"cytoloop train resume={name}" in message and "Traceback" not in message
    former = run_id(project / name)
    # the newest stopped run is found by itself, whatever its output folder
    assert run("train", f"resume={'true' if number is signal.SIGINT else name}") == 0
    assert run_id(project / name) == former
    assert client(project).get_run(former).info.status == "FINISHED"
    whole = torch.load(project / "whole/checkpoints/last.ckpt", weights_only=True)
    resumed = torch.load(last, weights_only=True)
    assert whole["global_step"] == resumed["global_step"] == 80
    for key, value in whole["state_dict"].items():
        assert torch.equal(value, resumed["state_dict"][key]), key


def test_a_resumed_run_may_not_be_another_one(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("train", "resume=m0", "model.optimizer.lr=3") == 2
    assert (
        "model.optimizer.lr=3 now, but not given when the run was started" in capfd.readouterr().err
    )


@pytest.mark.slow
def test_a_sweep_trains_one_model_each(project: Path) -> None:
    words = [*TINY_3D, "data.path=dataset", "trainer.max_epochs=1", "seed=1,2"]
    assert run("train", "--multirun", *words, "hydra.sweep.dir=sweep") == 0
    assert len(list(project.glob("sweep/*/checkpoints/best.ckpt"))) == 2


BASIC_UNET = """\
defaults:
  - unet
  - _self_

backbone:
  _target_: monai.networks.nets.BasicUNet
  features: [4, 4, 8, 8, 8, 4]
"""


@pytest.mark.slow
def test_any_network_of_monai_can_be_named(project: Path) -> None:
    from conftest import make_images

    (project / "experiments/model").mkdir(parents=True)
    (project / "experiments/model/basic.yaml").write_text(BASIC_UNET)
    make_images(project / "thick_images", 3, (20, 40, 40))
    assert run("curate", "raw=thick_images/raw", "seg1=thick_images/seg", "output=thick") == 0
    words = [*TINY_3D[1:], "model=basic"]
    words += ["data.patch_size=[16,32,32]", "data.path=thick", "output=basic"]
    assert run("train", *words, "trainer.max_epochs=1") == 0
    assert run("predict", "checkpoint=basic", "input=thick_images/raw", "output=basic_preds") == 0
    assert len(rows_of(project / "basic_preds/predictions.csv")) == 3


def test_a_stopped_prediction_tells_what_is_done_and_goes_on(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from cytoloop.inference import image_task

    whole = image_task.predict_image

    def stop_at_the_second(row: Any, *args: Any) -> dict[str, Any]:
        if row.id == "img_1":
            raise KeyboardInterrupt
        return whole(row, *args)

    monkeypatch.setattr(image_task, "predict_image", stop_at_the_second)
    words = ["input=images/raw", "output=stopped"]
    assert run("predict", "checkpoint=m0", *words) == 130
    status = [row["status"] for row in rows_of(project / "stopped/predictions.csv")]
    assert status == ["done", *["pending"] * 5]
    monkeypatch.undo()
    assert run("predict", "checkpoint=m0", *words) == 0
    assert "1 image(s) are done" in capfd.readouterr().err
    assert run("predict", "checkpoint=m0/checkpoints/last.ckpt", *words) == 0
    assert "holds predictions of another model" in capfd.readouterr().err
    (project / "afile").touch()
    assert run("predict", "checkpoint=m0", "input=images/raw", "output=afile/x") == 2
    assert "cannot be written" in capfd.readouterr().err


def test_a_bad_image_among_good_ones_fails_alone(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = project / "some"
    folder.mkdir()
    for number in range(2):
        (folder / f"img_{number}.tif").symlink_to(project / f"images/raw/img_{number}.tif")
    (folder / "broken.tif").write_bytes(b"II*\0 rubbish")
    assert run("predict", "checkpoint=m0", "input=some", "output=some_preds") == 2
    text = capfd.readouterr().err
    assert "broken: " in text and "The other 2 are done" in text and "Traceback" not in text
    rows = {row["id"]: row for row in rows_of(project / "some_preds/predictions.csv")}
    assert [rows[n]["status"] for n in ("broken", "img_0", "img_1")] == ["failed", "done", "done"]
    assert "cannot be read" in rows["broken"]["reason"]


def test_a_run_with_a_deleted_key_is_resumed(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [*TINY_3D, "~model.lr_scheduler", "data.path=dataset", "output=deleted"]
    assert run("train", *words, "trainer.max_epochs=1") == 0
    assert run("train", "resume=deleted", "trainer.max_epochs=2") == 0
    assert run("train", "resume=deleted", "trainer.max_epochs=1") == 2
    message = capfd.readouterr().err
    assert "trainer.max_epochs: is 1, but this training has done 2 epochs" in message
    assert run("train", "resume=deleted", "trainer.max_epochs=2") == 0  # ends there


@pytest.mark.slow
def test_overwriting_starts_from_nothing(project: Path) -> None:
    words = [*TINY_3D, "data.path=dataset", "output=again", "trainer.max_epochs=1"]
    assert run("train", *words) == 0
    first = (project / "again/checkpoints/best.ckpt").read_bytes()
    assert run("train", *words) == 2
    assert run("train", *words, "seed=7", "overwrite=true") == 0
    assert (project / "again/checkpoints/best.ckpt").read_bytes() != first


def test_a_run_is_not_resumed_on_other_data(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import shutil

    shutil.copytree(project / "dataset", project / "changing")
    words = [*TINY_3D, "data.path=changing", "output=m_changing", "trainer.max_epochs=1"]
    assert run("train", *words) == 0
    table = project / "changing/train.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    assert run("train", "resume=m_changing", "trainer.max_epochs=2") == 2
    assert "the data set has changed since this run started" in capfd.readouterr().err
