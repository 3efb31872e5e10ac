"""Several classes, from truth images of classes to their scores, through the verbs."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

import cytoloop
from cytoloop.__main__ import main
from cytoloop.images import read_image, read_labels

NAMES = ("nucleus", "membrane", "spindle")
TINY = [
    "model=semantic",
    f"classes=[{','.join(NAMES)}]",
    "model/size=small",
    "data.batch_size=4",
    "data.steps_per_epoch=25",
    "trainer.max_epochs=4",
    "trainer.precision=32",
    "augmentation=none",
    "model.optimizer.lr=0.01",
]


def cells(shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture of three cells and its classes.

    Nuclei are bright, membranes dim shells around them, spindles bars as dim as membranes: grey
    levels alone do not tell these apart.
    """
    rng = np.random.default_rng(seed)
    classes = np.zeros(shape, np.uint8)
    grid = np.indices(shape)
    sides = np.array([min(n / 2, 9) for n in shape])
    placed: list[np.ndarray] = []
    for _ in range(500):
        centre = np.array([rng.uniform(s, n - s) for s, n in zip(sides, shape, strict=True)])
        if len(placed) == 4:
            break
        if any(np.linalg.norm((centre - other)[-2:]) < 19 for other in placed):
            continue
        offsets = [g - c for g, c in zip(grid, centre, strict=True)]
        if len(placed) == 3:
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


@pytest.fixture(scope="module", params=[(64, 64), (16, 48, 48)], ids=["2D", "3D"])
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set and a model trained on it."""
    from conftest import write_tiff

    folder = tmp_path_factory.mktemp("classes")
    for number in range(7):
        raw, classes = cells(request.param, number)
        write_tiff(folder / "raw" / f"i{number}.tif", raw)
        write_tiff(folder / "seg" / f"i{number}.tif", classes)
    patch = "[32,32]" if len(request.param) == 2 else "[16,32,32]"
    former = Path.cwd()
    os.chdir(folder)
    try:
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        made = main(["curate", "raw=raw", "seg1=seg", "valid=0.2", "test=0.2", "output=dataset"])
        assert made == 0
        words = ["train", *TINY, f"data.patch_size={patch}", "data.path=dataset", "output=m0"]
        assert main(words) == 0
    finally:
        os.chdir(former)
    return folder


def test_x(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    assert main(["predict", "model=m0", "input=dataset/test.csv", "output=preds"]) == 0
    print(open("preds/predictions.csv").read(), open("preds/model.json").read())
    for row in rows_of("preds/predictions.csv"):
        im = read_image(Path("preds", row["probability"]))
        print(im.data.shape, im.channels, im.spacing_um)
        seg = read_labels(Path("preds", row["mask"]))
        t = read_labels(Path("dataset", row["raw"].replace("/raw/", "/seg/")))
        print(
            [
                2 * ((seg == c) & (t == c)).sum() / ((seg == c).sum() + (t == c).sum())
                for c in (1, 2, 3)
            ]
        )
