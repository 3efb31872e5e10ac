"""The registry of metrics: one entry reaches every table, report, comparison and log."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cytoloop.__main__ import main
from cytoloop.evaluation.metrics import (
    INSTANCE,
    LOWER,
    METRICS,
    PROBABILITY,
    REPORT,
    SEMANTIC,
    SKELETON,
    SURFACE,
    TERMINAL,
    TRAINING,
    Metric,
    score_columns,
)
from cytoloop.evaluation.summary import run_metrics
from cytoloop.model.class_scores import ClassCounts
from cytoloop.training.callbacks.object_scores import logged_scores

DOCS = Path(__file__).parents[2] / "docs/reference/evaluation.md"


def add_metric(monkeypatch: pytest.MonkeyPatch, metric: Metric) -> None:
    monkeypatch.setitem(METRICS, metric.name, metric)


@pytest.fixture
def images(tmp_path: Path, tiff: Callable, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders truth, good and poor: three squares, all found, or only two of them."""
    truth = np.zeros((30, 30), np.uint8)
    truth[2:8, 2:8], truth[2:8, 20:26], truth[20:26, 2:8] = 1, 2, 3
    for name in ("a", "b"):
        truth = np.roll(truth, 1, axis=0)  # equal images would count once
        tiff(tmp_path / f"truth/{name}.tif", truth)
        tiff(tmp_path / f"good/{name}.tif", truth)
        tiff(tmp_path / f"poor/{name}.tif", np.where(truth == 3, 0, truth).astype(np.uint8))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_new_entry_is_all_that_a_metric_needs(
    images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    toy = Metric(
        "miss_rate",
        "toy misses",
        INSTANCE,
        lambda counts: counts["missed"] / counts["n_truth"],
        "fraction of missed true objects",
        better=LOWER,
        shown_in=(TERMINAL, REPORT, TRAINING),
    )
    add_metric(monkeypatch, toy)
    for name in ("good", "poor"):
        words = [f"predictions={name}", f"output=eval_{name}", "resamples=100", "overlays=0"]
        assert main(["evaluate", "truth=truth", *words]) == 0
    assert "toy misses" in capsys.readouterr().out
    with open("eval_poor/metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["miss_rate"]) for row in rows] == pytest.approx([1 / 3, 1 / 3], abs=1e-6)
    summary = json.loads(Path("eval_poor/summary.json").read_text())
    for part in (summary["mean"], summary["pooled"], run_metrics(summary)):
        assert part["miss_rate"] == pytest.approx(1 / 3)
    assert run_metrics(summary)["pooled/miss_rate"] == pytest.approx(1 / 3)
    assert summary["intervals"]["mean"]["miss_rate"] is not None
    page = Path("eval_poor/report.html").read_text()
    assert page.count("toy misses") == 3  # scores, meaning of scores, table of images
    assert toy.description in page
    words = ["a=eval_poor", "b=eval_good", "score=miss_rate", "min_units=2", "overlays=0"]
    assert main(["compare", *words, "output=comparison"]) == 0  # b is better: fewer misses
    found = json.loads(Path("comparison/comparison.json").read_text())[0]
    assert found["scores"]["miss_rate"]["difference"] == pytest.approx(1 / 3, abs=1e-5)
    assert "toy misses" in Path("comparison/report.html").read_text()
    assert "toy misses" in capsys.readouterr().out
    assert logged_scores()[-1] == "val/miss_rate"


def test_a_new_metric_of_classes_is_scored_for_each_class(
    images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    toy = Metric(
        "excess",
        "toy excess",
        SEMANTIC,
        lambda counts: counts["voxels_predicted"] - counts["voxels_true"],
        "predicted minus true voxels",
        per_class=True,
        shown_in=(TRAINING,),
    )
    add_metric(monkeypatch, toy)
    words = ["predictions=poor", "truth=truth", "classes=[x,y,z]", "output=eval", "overlays=0"]
    assert main(["evaluate", *words, "resamples=0"]) == 0
    assert "toy" in capsys.readouterr().out
    with open("eval/metrics.csv", newline="") as file:
        row = next(csv.DictReader(file))
    assert (float(row["excess_x"]), float(row["excess_z"]), float(row["excess"])) == (0, -36, -12)
    summary = json.loads(Path("eval/summary.json").read_text())
    assert summary["mean"]["excess_z"] == -36 and summary["pooled"]["excess_z"] == -72
    assert "toy excess" in Path("eval/report.html").read_text()
    counts = ClassCounts(["x", "y"])
    assert "val/excess_y" in counts.scores(counts.voxels)


def test_entries_are_complete_and_documented() -> None:
    text = DOCS.read_text()
    for name, metric in METRICS.items():
        assert name == metric.name and re.fullmatch(r"[a-z0-9_]+", name)
        assert metric.label and metric.description
        assert metric.group in (SEMANTIC, SURFACE, INSTANCE, SKELETON, PROBABILITY)
        assert f"`{name}`" in text, f"{name} is missing in docs/reference/evaluation.md"


def test_columns_of_classes_are_means_and_then_each_class() -> None:
    names = [name for name, metric in METRICS.items() if metric.per_class]
    assert names == ["dice", "iou", "precision", "recall", "surface_dice", "hd95"]
    assert list(score_columns(["x"])) == [*names, *(f"{name}_x" for name in names)]
    assert score_columns() == METRICS
