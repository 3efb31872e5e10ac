"""Scores of classes against plain counting, refused input, and comparison of classes."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from cytoloop.__main__ import main
from cytoloop.errors import ImageError, ManifestError
from cytoloop.evaluation import EvaluationSettings, evaluate, run_metrics, stated_classes
from cytoloop.evaluation.comparison import compare, read_evaluation
from cytoloop.evaluation.scoring.classes import score_classes
from cytoloop.manifest import Row, write_manifest

NAMES = ("nucleus", "spindle")


def written(folder: Path, name: str, data: np.ndarray) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(folder / name, data, photometric="minisblack")
    return str(folder / name)


def scored(folder: Path, truth: np.ndarray, found: np.ndarray, valid: Any = None) -> Any:
    true = {"id": "a", "seg1": written(folder, "truth.tif", truth)}
    if valid is not None:
        true["exclude_mask"] = written(folder, "exclude.tif", (~valid).astype(np.uint8))
    mask = written(folder, "found.tif", found)
    prediction = Row({"id": "a", "mask": mask, "classes": "nucleus spindle"}, folder, 1)
    image = score_classes(prediction, Row(true, folder, 1), EvaluationSettings(), NAMES)
    return image and image.row


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([(9, 11), (4, 6, 7)]), st.booleans())
def test_scores_equal_plain_counting(
    tmp_path_factory: pytest.TempPathFactory, seed: int, shape: tuple[int, ...], hidden: bool
) -> None:
    rng = np.random.default_rng(seed)
    truth, found = rng.integers(0, 3, (2, *shape), np.uint8)
    valid = rng.random(shape) > 0.3 if hidden else np.ones(shape, bool)
    truth[~valid] = 9  # not checked there
    row = scored(tmp_path_factory.mktemp("s"), truth, found, valid if hidden else None)
    for value, name in enumerate(NAMES, 1):
        t, p = (truth == value) & valid, (found == value) & valid
        both = (t & p).sum()
        assert row[f"dice_{name}"] == pytest.approx(2 * both / (t.sum() + p.sum()))
        assert row[f"iou_{name}"] == pytest.approx(both / (t | p).sum())
        assert row[f"precision_{name}"] == pytest.approx(both / p.sum())
        assert row[f"recall_{name}"] == pytest.approx(both / t.sum())
        assert row[f"voxels_both_{name}"] == both
    for score in ("dice", "iou", "precision", "recall", "surface_dice", "hd95"):
        mean = np.mean([row[f"{score}_{name}"] for name in NAMES])
        assert row[score] == pytest.approx(mean)


def test_a_class_without_true_and_predicted_voxels_is_left_out(tmp_path: Path) -> None:
    truth = np.zeros((8, 8), np.uint8)
    truth[2:5, 2:5] = 1
    row = scored(tmp_path, truth, truth)
    assert row["dice"] == row["dice_nucleus"] == 1 and math.isnan(row["dice_spindle"])
    found = truth.copy()
    found[7, 7] = 2
    row = scored(tmp_path, truth, found)
    assert row["dice_spindle"] == 0 and row["dice"] == 0.5


def test_two_swapped_classes_both_score_0(tmp_path: Path) -> None:
    truth = np.zeros((8, 8), np.uint8)
    truth[2:5, 2:5], truth[6:, 6:] = 1, 2
    row = scored(tmp_path, truth, np.array([0, 2, 1], np.uint8)[truth])
    assert row["dice"] == row["dice_nucleus"] == row["dice_spindle"] == 0


def test_a_completely_excluded_image_has_no_row(tmp_path: Path) -> None:
    truth = np.ones((6, 6), np.uint8)
    assert scored(tmp_path, truth, truth, np.zeros((6, 6), bool)) is None


def test_values_without_a_class_are_refused(tmp_path: Path) -> None:
    truth, found = np.full((2, 6, 6), 1, np.uint8)
    truth[0, 0], found[1, 1] = 3, 200
    with pytest.raises(ImageError, match="without a class: 200") as caught:
        scored(tmp_path, truth, found)
    assert "the truth holds values without a class: 3" in caught.value.render()
    with pytest.raises(ImageError, match="truth is"):
        scored(tmp_path, truth, found[:4])
    with pytest.raises(ImageError, match="has no class image"):
        row = Row({"id": "a"}, tmp_path, 1)
        score_classes(row, row, EvaluationSettings(), NAMES)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Truths, and two predictions of them: ``good`` and ``poor``; eight images in four groups."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(8):
        truth = np.zeros((24, 24), np.uint8)
        truth[3:12, 3:12], truth[14:20, 14:22] = 1, 2
        for kind, share in (("truth", 0.0), ("good", 0.05), ("poor", 0.3)):
            noise = rng.random(truth.shape) < share
            found = np.where(noise, rng.integers(0, 3, truth.shape), truth).astype(np.uint8)
            path = written(tmp_path / kind, f"i{number}.tif", found)
            if kind == "truth":
                rows.append({"id": f"i{number}", "seg1": path, "group": f"g{number // 2}"})
    write_manifest(tmp_path / "truth.csv", rows)
    return tmp_path


def test_an_evaluation_of_classes_writes_tables_report_and_overlays(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    words = ["truth=truth.csv", "classes=[nucleus,spindle]", "resamples=200", "overlays=1"]
    assert main(["evaluate", "predictions=good", *words, "output=eval"]) == 0
    with open("eval/metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8 and {row["classes"] for row in rows} == {"nucleus spindle"}
    summary = json.loads(Path("eval/summary.json").read_text())
    mean = np.mean([float(row["dice_spindle"]) for row in rows])
    assert summary["mean"]["dice_spindle"] == pytest.approx(mean, abs=1e-5)
    both, total = (
        sum(float(row[f"{name}_nucleus"]) for row in rows for name in names)
        for names in (["voxels_both"], ["voxels_true", "voxels_predicted"])
    )
    assert summary["pooled"]["dice_nucleus"] == pytest.approx(2 * both / total)
    low, high = summary["intervals"]["mean"]["dice"]
    assert low < summary["mean"]["dice"] < high < 1
    assert summary["intervals"]["resampled"] == "group" and set(summary["groups"]) == {
        *("g0", "g1", "g2", "g3")
    }
    page = Path("eval/report.html").read_text()
    assert "1 = nucleus" in page and "spindle" in page and "data:image/webp" in page
    assert len(list(Path("eval/overlays").iterdir())) == 1
    # without classes= the same images are scored as foreground
    assert main(["evaluate", "predictions=good", "truth=truth.csv", "output=plain"]) == 0
    assert json.loads(Path("plain/summary.json").read_text())["mean"]["f1_50"] is not None
    second = ["annotator2=poor", "output=e2"]
    assert main(["evaluate", "predictions=good", *words, *second]) == 2


def test_evaluations_of_classes_are_compared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    words = ["truth=truth", "resamples=0", "overlays=0"]
    for kind in ("good", "poor"):
        made = main(["evaluate", f"predictions={kind}", *words, "classes=2", f"output=e_{kind}"])
        assert made == 0
    assert main(["compare", "a=e_poor", "b=e_good", "output=c"]) == 0
    found = json.loads(Path("c/comparison.json").read_text())[0]
    assert found["main_score"] == "dice" and found["verdict"] == "b is better"
    assert found["scores"]["dice_c2"]["difference"] > 0
    assert list(Path("c/overlays").iterdir())
    assert main(["evaluate", "predictions=good", *words, "output=plain"]) == 0
    with pytest.raises(ManifestError, match="scores foreground, but a=.* scores c1 c2"):
        compare(read_evaluation("a", "e_good", "e_good"), read_evaluation("b", "plain", "plain"))


def test_tables_of_predictions_state_their_classes(tmp_path: Path) -> None:
    assert stated_classes(tmp_path) == ()
    table = tmp_path / "predictions.csv"
    for stated, wanted in ((["", ""], ()), (["a b", ""], ("a", "b"))):
        rows = [{"id": str(n), "classes": one} for n, one in enumerate(stated)]
        write_manifest(table, rows, ("id", "classes"))
        assert stated_classes(table) == wanted
    write_manifest(table, [{"id": "1", "classes": "a b"}, {"id": "2", "classes": "a c"}],
                   ("id", "classes"))  # fmt: skip
    with pytest.raises(ManifestError, match="different classes: a b; a c"):
        stated_classes(table)


def test_excluded_images_only_are_refused(folder: Path) -> None:
    mask = written(folder, "all.tif", np.ones((24, 24), np.uint8))
    rows = [{"id": "i0", "seg1": "truth/i0.tif", "exclude_mask": mask}]
    write_manifest(folder / "t.csv", rows)
    with pytest.raises(ManifestError, match="all images are completely excluded"):
        evaluate(folder / "good", folder / "t.csv", classes=NAMES)


def test_metrics_of_runs_are_flat(folder: Path) -> None:
    found = run_metrics(evaluate(folder / "good", folder / "truth", classes=NAMES).summary)
    assert found["scored"] == 8 and 0.5 < (found["pooled/dice_spindle"] or 0) < 1
    assert 0.5 < (found["dice"] or 0) < 1
