"""A model of several classes through the verbs: from truth images to scores."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

import cytoloop
from cytoloop.__main__ import main
from cytoloop.errors import ConfigError
from cytoloop.inference.pyfunc import PyFunc
from cytoloop.io.labels import read_labels
from cytoloop.io.read import read_image

NAMES = ("nucleus", "membrane", "spindle")
TINY = [
    "model=semantic",
    f"classes=[{','.join(NAMES)}]",
    "model/size=small",
    "data.batch_size=4",
    "trainer.max_epochs=4",
    "trainer.precision=32",
    "augmentation=none",
    "model.optimizer.lr=0.01",
]


def cells(shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an image of a spindle and up to three cells, and its classes.

    Nuclei are bright. Membranes are dim shells around them, and spindles are bars as dim as
    membranes: grey levels alone cannot separate these two classes.
    """
    rng = np.random.default_rng(seed)
    classes = np.zeros(shape, np.uint8)
    grid = np.indices(shape)
    sides = np.array([min(n / 2, 9) for n in shape])
    placed: list[np.ndarray] = []
    for _ in range(300):
        centre = np.array([rng.uniform(s, n - s) for s, n in zip(sides, shape, strict=True)])
        if len(placed) == 4 or any(np.linalg.norm((centre - o)[-2:]) < 19 for o in placed):
            continue
        offsets = [g - c for g, c in zip(grid, centre, strict=True)]
        if not placed:
            classes[(np.abs(offsets[-1]) < 8) & (np.abs(offsets[-2]) < 4)] = 3
        else:
            radius = np.sqrt(sum(o**2 for o in offsets))
            classes[radius < 8] = 2
            classes[radius < 5.5] = 1
        placed.append(centre)
    raw = 300 + np.array([0, 1100, 500, 500])[classes] + rng.normal(0, 50, shape)
    return np.clip(raw, 0, 65535).astype(np.uint16), classes


def rows_of(path: str) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(
    scope="module",
    params=[(64, 64), pytest.param((12, 48, 48), marks=pytest.mark.slow)],
    ids=["2D", "3D"],
)
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set and a model trained on it."""
    from conftest import working_in, write_tiff

    folder = tmp_path_factory.mktemp("classes")
    for number in range(7):
        raw, classes = cells(request.param, number)
        write_tiff(folder / "raw" / f"i{number}.tif", raw)
        write_tiff(folder / "seg" / f"i{number}.tif", classes)
    flat = len(request.param) == 2
    patch, steps = ("[32,32]", 25) if flat else ("[8,32,32]", 45)
    with working_in(folder):
        made = main(["curate", "raw=raw", "seg1=seg", "valid=0.2", "test=0.2", "output=dataset"])
        assert made == 0
        words = [f"data.patch_size={patch}", f"data.steps_per_epoch={steps}", "data.path=dataset"]
        assert main(["train", *TINY, *words, "output=m0"]) == 0
    return folder


def test_classes_are_learned_predicted_and_scored(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    assert main(["predict", "checkpoint=m0", "input=dataset/test.csv", "output=preds"]) == 0
    words = ["predictions=preds/predictions.csv", "truth=dataset/test.csv", "output=eval"]
    assert main(["evaluate", *words]) == 0
    (row,) = rows_of("eval/metrics.csv")
    scores = [float(row[f"dice_{name}"]) for name in NAMES]
    assert min(scores) > 0.9
    assert float(row["dice"]) == pytest.approx(np.mean(scores), abs=1e-5)
    summary = json.loads(Path("eval/summary.json").read_text())
    assert summary["classes"] == list(NAMES) and summary["pooled"]["dice"] > 0.9
    assert Path("eval/report.html").is_file() and list(Path("eval/overlays").iterdir())

    (row,) = rows_of("preds/predictions.csv")
    assert row["classes"] == " ".join(NAMES) and not row["labels"] and not row["objects"]
    stored = read_image(Path("preds") / row["probability"])
    classes = read_labels(Path("preds") / row["mask"])
    assert stored.channels == NAMES and stored.data.shape[1:] == classes.shape
    assert set(np.unique(classes)) == {0, 1, 2, 3}
    # the most probable class among those above their own threshold, which training tuned
    thresholds = np.array([float(text) for text in row["threshold"].split()]) * 255
    above = stored.data > thresholds.reshape(-1, *[1] * classes.ndim)
    best = np.where(above, stored.data, 0).argmax(0) + 1
    np.testing.assert_array_equal(classes, np.where(above.any(0), best, 0))


def test_reprocessed_maps_give_the_same_classes(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    words = ["checkpoint=m0", "input=dataset/valid.csv"]
    assert main(["predict", *words, "output=first"]) == 0
    assert main(["predict", *words, "output=zarr", "format=ome-zarr"]) == 0
    for form in ("first", "zarr"):
        assert main(["predict", f"reprocess={form}/predictions.csv", f"output={form}_again"]) == 0
        rows = [rows_of(f"{folder}/predictions.csv")[0] for folder in (form, f"{form}_again")]
        one, other = (
            read_labels(Path(folder, row["mask"]))
            for folder, row in zip((form, f"{form}_again"), rows, strict=True)
        )
        np.testing.assert_array_equal(one, other)
        assert rows[0]["threshold"] == rows[1]["threshold"]
    assert main(["predict", "reprocess=first/predictions.csv", "save=[labels]"]) == 2


def test_the_run_holds_the_scores_of_each_class(project: Path) -> None:
    run = (project / "m0" / "run_id").read_text().strip()
    found = MlflowClient(f"sqlite:///{project}/mlflow.db").get_run(run).data
    each = [f"{stage}/dice_{name}" for stage in ("val", "tuned", "test") for name in NAMES]
    for name in (*each, "val/dice", "tuned/dice", "test/dice", "test/pooled/dice"):
        assert 0.8 < found.metrics[name] <= 1, name
    assert found.metrics["train/loss_class_spindle"] < found.metrics["train/loss"]
    assert found.params["callbacks.best.monitor"] == "val/dice"
    assert (project / "m0" / "test" / "evaluation" / "report.html").is_file()


def test_the_model_works_in_python_and_mlflow(project: Path) -> None:
    raw = read_image(sorted((project / "raw").iterdir())[0]).data[0]
    spacing = (0.6, 0.3, 0.3) if raw.ndim == 3 else (1.0, 0.3, 0.3)
    found = cytoloop.predict(raw, checkpoint=project / "m0", spacing_um=spacing)
    assert tuple(found.classes) == NAMES and not found.labels.any()
    assert found.probability.shape == (3, *raw.shape)
    served = PyFunc(project / "m0" / "checkpoints" / "best.ckpt")
    np.testing.assert_array_equal(served.predict(raw), found.mask)
    with pytest.raises(ConfigError, match="predicts classes, not objects"):
        served.predict(raw, {"output": "labels"})
