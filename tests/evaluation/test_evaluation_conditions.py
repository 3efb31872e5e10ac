"""Scores are compared only under the same conditions, and an image counts once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from cytoloop.errors import ManifestError
from cytoloop.evaluation import EvaluationSettings, evaluate
from cytoloop.evaluation.comparison import VerdictRule, compare, read_evaluation
from cytoloop.evaluation.output.tables import write_tables
from cytoloop.manifest import read_manifest, write_manifest

QUICK = VerdictRule(resamples=200, score="surface_dice")


@pytest.fixture
def scored(tmp_path: Path, blobs: Callable, tiff: Callable) -> Path:
    """Folder with seven truths in ``true/`` and shifted predictions in ``found/``, 2D."""
    for number in range(7):
        _, labels = blobs((40, 40), 4, seed=number)
        tiff(tmp_path / f"true/img_{number}.tif", labels)
        tiff(tmp_path / f"found/img_{number}.tif", np.roll(labels, 1, axis=0))
    return tmp_path


def evaluation(folder: Path, name: str, truth: Any = "true", **settings: Any) -> Any:
    """Evaluate, write the tables and read them back, as `compare` does."""
    result = evaluate(
        folder / settings.pop("found", "found"),
        folder / truth,
        EvaluationSettings(resamples=0, **settings),
    )
    write_tables(result, folder / name)
    return read_evaluation(name, name, folder / name)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"tolerance_um": 5.0}, "tolerance: a has 1.0, b 5.0"),
        ({"predictions_are": "mask"}, "predictions_are: a has auto, b mask"),
    ],
)
def test_evaluations_with_other_settings_are_not_compared(
    scored: Path, changes: dict[str, Any], problem: str
) -> None:
    first, second = evaluation(scored, "a"), evaluation(scored, "b", **changes)
    with pytest.raises(ManifestError) as error:
        compare(first, second, QUICK)
    assert error.value.problems == [problem] and "same settings" in error.value.repair
    assert compare(first, evaluation(scored, "c"), QUICK).verdict == "no evidence"


def test_thresholds_voxel_sizes_and_versions_are_conditions(scored: Path, tiff: Callable) -> None:
    for number in range(7):
        labels = np.zeros((40, 40), np.uint8)
        labels[5:20, 5:20] = 200
        tiff(scored / f"maps/img_{number}.tif", labels)
    maps: dict[str, Any] = {"found": "maps", "predictions_are": "probability"}
    first = evaluation(scored, "a", **maps)
    second = evaluation(scored, "b", **maps, threshold=0.7)
    with pytest.raises(ManifestError, match=r"threshold: a has 0\.5, b 0\.7"):
        compare(first, second, QUICK)
    for row in second.rows.values():
        row.values |= {"threshold": "0.5", "score_version": "0", "spacing_um": "1 1 1"}
    with pytest.raises(ManifestError) as error:
        compare(first, second, QUICK)
    assert error.value.problems == [
        "score_version: a has 1, b 0",
        "spacing_um differs in 7 image(s): img_0, img_1, img_2 and 4 more",
    ]
    for row in second.rows.values():  # an evaluation of an earlier version
        row.values |= dict.fromkeys(("tolerance", "predictions_are", "score_version"), "")
    with pytest.raises(ManifestError, match=r"tolerance: a has 1\.0, b none recorded"):
        compare(first, second, QUICK)


def test_images_with_another_truth_or_region_are_not_compared(scored: Path, tiff: Callable) -> None:
    first = evaluation(scored, "a")
    moved = np.roll(
        tifffile.imread(scored / "true/img_0.tif"), 1, axis=1
    )  # as many objects and voxels
    tiff(scored / "true/img_0.tif", moved)
    region = np.zeros((40, 40), np.uint8)
    empty = np.argwhere(tifffile.imread(scored / "true/img_1.tif") == 0)[0]
    region[tuple(empty)] = 1  # excludes background: no count of the truth changes
    tiff(scored / "region.tif", region)
    rows = [
        {"id": f"img_{n}", "seg1": f"true/img_{n}.tif", "exclude_mask": "region.tif" * (n == 1)}
        for n in range(7)
    ]
    write_manifest(scored / "truth.csv", rows)
    second = evaluation(scored, "b", truth="truth.csv")
    assert compare(first, second, QUICK).not_compared == {"with another truth": ["img_0", "img_1"]}


def test_the_same_image_under_two_ids_counts_once(
    scored: Path, caplog: pytest.LogCaptureFixture
) -> None:
    alone = evaluate(scored / "found", scored / "true", EvaluationSettings(resamples=50))
    for folder in ("true", "found"):
        shutil.copy(scored / folder / "img_0.tif", scored / folder / "copy.tif")
        shutil.copy(scored / folder / "img_0.tif", scored / folder / "more.tif")
    result = evaluate(scored / "found", scored / "true", EvaluationSettings(resamples=50))
    assert "2 image(s) show the same image as another row and count once" in caplog.text
    for name in ("mean", "pooled", "intervals"):
        assert result.summary[name] == alone.summary[name], name
    assert result.summary["unscored"]["same_image_as_another"] == ["img_0", "more"]
    write_tables(result, scored / "a")
    table = read_evaluation("a", "a", scored / "a")
    assert {name: row["duplicate_of"] for name, row in table.rows.items() if name < "img_1"} == {
        "copy": "",
        "img_0": "copy",
    }
    one = compare(table, table, QUICK)
    assert one.not_compared == {"the same image as another": ["img_0", "more"]} and one.units == 7


def test_blank_frames_of_a_movie_are_different_images(tmp_path: Path, tiff: Callable) -> None:
    blank = np.zeros((20, 20), np.uint8)
    tiff(tmp_path / "blank.tif", blank)
    tiff(tmp_path / "movie.tif", np.ones((20, 20), np.uint8))
    rows = [
        {"id": f"t{t}", "raw": "movie.tif", "time": t, "seg1": "blank.tif", "labels": "blank.tif"}
        for t in (0, 1, 1)
    ]
    rows[2]["id"] = "again"
    write_manifest(tmp_path / "table.csv", rows)
    result = evaluate(tmp_path / "table.csv", tmp_path / "table.csv", EvaluationSettings())
    assert [row["duplicate_of"] for row in result.rows] == ["", "", "t1"]
    same_content = [{**row, "sha256": "sha256:1", "id": n} for n, row in enumerate(rows)]
    write_manifest(tmp_path / "table.csv", same_content)
    result = evaluate(tmp_path / "table.csv", tmp_path / "table.csv", EvaluationSettings())
    assert [row["duplicate_of"] for row in result.rows] == ["", "", "1"]
    without_raw = [{k: v for k, v in row.items() if k not in ("raw", "time")} for row in rows]
    write_manifest(tmp_path / "table.csv", without_raw)
    result = evaluate(tmp_path / "table.csv", tmp_path / "table.csv", EvaluationSettings())
    assert result.summary["scored"] == 3


def test_conditions_are_in_the_table(scored: Path) -> None:
    evaluation(scored, "a", tolerance_um=2.0)
    row = next(iter(read_manifest(scored / "a/metrics.csv", ()).rows))
    assert (row["tolerance"], row["predictions_are"], row["threshold"]) == ("2.0", "auto", "")
    assert row["score_version"] == "1" and row["truth_sha256"].startswith("sha256:")


def test_different_voxel_sizes_are_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, step in (("true", 0.25), ("found", 0.5), ("close", 0.2501)):
        (tmp_path / name).mkdir()
        tifffile.imwrite(
            tmp_path / name / "a.tif",
            np.eye(20, dtype=np.uint8),
            imagej=True,
            resolution=(1 / step, 1 / step),
            metadata={"unit": "um", "axes": "YX"},
        )
    found = evaluate(tmp_path / "found", tmp_path / "true", EvaluationSettings())
    text = "voxel sizes differ: truth 1 0.25 0.25 um, prediction 1 0.5 0.5 um"
    assert found.rows[0]["warnings"] == text and f"a: {text}" in caplog.text
    close = evaluate(tmp_path / "close", tmp_path / "true", EvaluationSettings())
    assert "warnings" not in close.rows[0]
