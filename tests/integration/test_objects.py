"""Touching objects, learned and separated by a model with a distance head."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from cytoloop.__main__ import main
from cytoloop.io.labels import read_labels
from cytoloop.io.read import read_image

TINY = [
    "model=instance",
    "model/size=small",
    "data.batch_size=4",
    "data.steps_per_epoch=25",
    "trainer.max_epochs=4",
    "trainer.precision=32",
    "augmentation=none",
    "model.optimizer.lr=0.01",
]


def touching(shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an image of pairs of touching balls, equally bright, and its labels."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint16)
    grid = np.indices(shape)
    radius = 5.0
    for pair in range(3):
        for _ in range(300):
            one = np.array([rng.uniform(radius, n - radius) for n in shape])
            angle = rng.uniform(0, 2 * np.pi)
            step = 1.7 * radius * np.array([0, np.sin(angle), np.cos(angle)])[-len(shape) :]
            other = one + step
            distances = [
                np.sqrt(sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)))
                for centre in (one, other)
            ]
            inside = np.minimum(*distances) < radius
            near = np.minimum(*distances) < radius + 2
            fits = all(radius <= c <= n - radius for c, n in zip(other, shape, strict=True))
            if fits and not labels[near].any():
                labels[inside] = np.where(np.argmin(distances, 0), 2, 1)[inside] + 2 * pair
                break
    raw = 300 + 900 * (labels > 0) + rng.normal(0, 60, shape)
    return np.clip(raw, 0, 65535).astype(np.uint16), labels


@pytest.fixture(
    scope="module",
    params=[(64, 64), pytest.param((14, 48, 48), marks=pytest.mark.slow)],
    ids=["2D", "3D"],
)
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set and a model trained on it."""
    from conftest import working_in, write_tiff

    folder = tmp_path_factory.mktemp("objects")
    for number in range(7):
        raw, labels = touching(request.param, number)
        write_tiff(folder / "raw" / f"i{number}.tif", raw)
        write_tiff(folder / "seg" / f"i{number}.tif", labels)
    patch = "[32,32]" if len(request.param) == 2 else "[8,32,32]"
    with working_in(folder):
        made = main(["curate", "raw=raw", "seg1=seg", "valid=0.2", "test=0.2", "output=dataset"])
        assert made == 0
        words = ["train", *TINY, f"data.patch_size={patch}", "data.path=dataset", "output=m0"]
        assert main(words) == 0
    return folder


def test_touching_objects_are_learned_and_separated(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    assert main(["predict", "checkpoint=m0", "input=dataset/test.csv", "output=preds"]) == 0
    table = "predictions=preds/predictions.csv"
    assert main(["evaluate", table, "truth=dataset/test.csv", "output=eval"]) == 0
    with open("eval/metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert min(float(row["dice"]) for row in rows) > 0.9
    assert np.mean([float(row["f1_50"]) for row in rows]) > 0.9

    with open("preds/predictions.csv", newline="") as file:
        row = next(csv.DictReader(file))
    depth = read_image(Path("preds") / row["distance"]).data[0]
    labels = read_labels(Path("preds") / row["labels"])
    assert depth.dtype == np.uint8 and depth.shape == labels.shape
    assert depth[labels > 0].mean() > 4 * depth[labels == 0].mean()


@pytest.mark.parametrize(
    "network", ["dynunet", pytest.param("residual_encoder", marks=pytest.mark.slow)]
)
def test_one_class_is_learned(project: Path, network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    flat = read_image(Path("raw/i0.tif")).data[0].ndim == 2
    patch = "[32,32]" if flat else "[8,32,32]"
    words = [*TINY, "model=unet", f"model/network={network}", f"data.patch_size={patch}"]
    assert main(["train", *words, "data.path=dataset", f"output={network}"]) == 0
    run = Path(network, "run_id").read_text().strip()
    found = MlflowClient(f"sqlite:///{project}/mlflow.db").get_run(run).data.metrics
    assert found["test/dice"] > 0.9 and "train/loss" in found


@pytest.mark.slow
@pytest.mark.parametrize("project", [(64, 64)], indirect=True, ids=["2D"])  # as nci-hitif's
def test_hitif_is_learned_with_deep_supervision_and_separates_objects(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    words = [*TINY, "model=hitif", "data.patch_size=[32,32]"]
    words += ["+model.backbone.deep_supervision=true", "+model.backbone.deep_supr_num=1"]
    assert main(["train", *words, "data.path=dataset", "tune=false", "output=hitif"]) == 0
    run = (project / "hitif" / "run_id").read_text().strip()
    found = MlflowClient(f"sqlite:///{project}/mlflow.db").get_run(run).data.metrics
    assert found["train/loss_contour"] < 0.1 and found["val/dice"] > 0.9
    # the default closing would join the seeds of balls this small
    words = ["postprocess=hitif", "postprocess.seed_closing=0", "input=dataset/test.csv"]
    words += ["output=by_hitif"]
    assert main(["predict", "checkpoint=hitif", *words]) == 0
    table = "predictions=by_hitif/predictions.csv"
    assert main(["evaluate", table, "truth=dataset/test.csv", "output=hitif_eval"]) == 0
    with open("hitif_eval/metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert np.mean([float(row["f1_50"]) for row in rows]) > 0.8
    with open("by_hitif/predictions.csv", newline="") as file:
        row = next(csv.DictReader(file))
    contour = read_image(Path("by_hitif") / row["contour"]).data[0].astype(float)
    labels = read_labels(Path("by_hitif") / row["labels"])
    assert contour[labels > 0].mean() > 2 * contour[labels == 0].mean()


def test_reprocessed_maps_give_the_same_objects(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    assert main(["predict", "checkpoint=m0", "input=dataset/valid.csv", "output=first"]) == 0
    assert main(["predict", "reprocess=first/predictions.csv", "output=second"]) == 0
    names = sorted(p.name for p in Path("first/labels").iterdir())
    assert names and names == sorted(p.name for p in Path("second/labels").iterdir())
    for name in names:
        first, second = (
            read_labels(Path(folder, "labels", name)) for folder in ("first", "second")
        )
        np.testing.assert_array_equal(first, second)


def test_the_run_holds_the_scores_of_objects(project: Path) -> None:
    run = (project / "m0" / "run_id").read_text().strip()
    found = MlflowClient(f"sqlite:///{project}/mlflow.db").get_run(run).data
    for name in ("val/pq", "val/seg", "val/f1_50", "val/dice", "tuned/seg", "tuned/ap_50"):
        assert 0.5 < found.metrics[name] <= 1, name
    assert found.metrics["train/loss_distance"] < 0.2
    assert found.metrics["test/dice"] > 0.9  # scored once, when training had ended
    assert (project / "m0" / "test" / "evaluation" / "report.html").is_file()
    assert found.params["callbacks.best.monitor"] == "val/pq"
