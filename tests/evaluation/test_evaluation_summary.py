"""Intervals, groups, a second annotator, the report, and input that is refused."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from cytoloop.errors import ConfigError, ManifestError
from cytoloop.evaluation import EvaluationSettings, bootstrap, evaluate, terminal_tables
from cytoloop.evaluation.bootstrap import (
    draw_weights,
    interval,
    is_one_file,
    p_value,
    resample_means,
    resample_sums,
    sampling_units,
)
from cytoloop.evaluation.figures.charts import write_charts
from cytoloop.evaluation.figures.overlays import write_overlays
from cytoloop.evaluation.output.report import write_report
from cytoloop.evaluation.output.tables import write_tables
from cytoloop.io.labels import read_labels
from cytoloop.manifest import write_manifest


@pytest.fixture
def shifted(images_3d: Path, tiff: Callable) -> Path:
    """Five images, predictions moved by 0 to 4 voxels, in two groups."""
    rows = []
    for number in range(5):
        labels = read_labels(images_3d / f"seg/img_{number}.tif")
        tiff(images_3d / f"found/img_{number}.tif", np.roll(labels, number, 2))
        tiff(images_3d / f"person/img_{number}.tif", np.roll(labels, 1, 1))
        cells = {"id": f"img_{number}", "seg1": f"seg/img_{number}.tif"}
        rows.append({**cells, "raw": f"raw/img_{number}.tif", "group": "ab"[number > 2]})
    write_manifest(images_3d / "truth.csv", rows)
    return images_3d


def test_the_bootstrap_of_a_mean_agrees_with_theory() -> None:
    values = np.random.default_rng(0).normal(3, 2, (400, 1))
    drawn = resample_means(values, [str(i) for i in range(400)], 4000, 1)
    error = values.std() / 20
    low, high = interval(drawn[:, 0])
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)
    from scipy import stats

    shift = values - values.mean() + 2 * error
    drawn = resample_means(shift, [str(i) for i in range(400)], 20000, 1)
    assert p_value(drawn[:, 0]) == pytest.approx(2 * stats.norm.sf(2), abs=0.01)


def test_images_of_a_unit_are_drawn_together() -> None:
    rows = [{"id": str(i), "group": "ab"[i % 2]} for i in range(6)] + [{"id": "7", "group": ""}]
    units, kind = sampling_units(rows)
    assert kind == "group" and len(set(units)) == 3
    (weights,) = draw_weights(units, 50, 0)
    assert (weights[:, 0] == weights[:, 2]).all() and (weights[:, 0] != weights[:, 1]).any()
    np.testing.assert_array_equal(weights, *draw_weights(units, 50, 0))
    assert (weights != next(draw_weights(units, 50, 1))).any()
    assert sampling_units([{"id": str(i), "group": "one"} for i in range(4)])[1] == "image"
    assert sampling_units([{"id": str(i), "group": str(i)} for i in range(4)])[1] == "image"


def test_frames_of_a_movie_are_drawn_together() -> None:
    """48 frames of two movies are two independent units, not 96."""
    rows = [
        {"id": f"{movie}_{t}", "group": "", "raw": f"{movie}.tif", "scene": "0", "time": t}
        for movie in "ab"
        for t in range(48)
    ]
    units, kind = sampling_units(rows)
    assert (kind, len(set(units))) == ("file", 2) and not is_one_file(rows)
    scenes = [{**row, "scene": str(t % 3)} for t, row in enumerate(rows)]
    assert len(set(sampling_units(scenes)[0])) == 6
    units, kind = sampling_units([{**row, "group": "AB"[t % 2]} for t, row in enumerate(rows)])
    assert (kind, len(set(units))) == ("group", 2)  # what the user states counts
    some = [
        {**row, "group": {"a_0": "one", "a_1": "one", "b_0": "two"}.get(row["id"], "")}
        for row in rows
    ]
    assert len(set(sampling_units(some)[0])) == 4
    assert is_one_file(rows[:48]) and sampling_units(rows[:48])[1] == "image"
    assert sampling_units([rows[0], rows[50]])[1] == "image"


def test_undefined_values_are_left_out_of_resampled_means() -> None:
    values = np.array([[1.0, np.nan], [3.0, 5.0]])
    (weights,) = draw_weights(["a", "b"], 50, 0)
    expected = {(1, 1): [2, 5], (2, 0): [1, np.nan], (0, 2): [3, 5]}
    for drawn, found in zip(weights, resample_means(values, ["a", "b"], 50, 0), strict=True):
        np.testing.assert_equal(found, expected[tuple(drawn)])
    assert interval(np.array([np.nan])) is None
    assert p_value(np.zeros(99)) == 1 and p_value(np.ones(99)) == pytest.approx(0.02)


def test_resamples_do_not_depend_on_the_chunk_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    units = [f"group {i % 7}" for i in range(40)]
    (whole,) = draw_weights(units, 90, 0)
    monkeypatch.setattr(bootstrap, "CHUNK", 400)
    parts = list(draw_weights(units, 90, 0))
    assert len(parts) == 9 and max(map(len, parts)) == 10
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    values = np.random.default_rng(0).normal(size=(40, 3))
    np.testing.assert_allclose(resample_sums(values, units, 90, 0), whole @ values)


def test_memory_does_not_grow_with_images_times_resamples() -> None:
    units, values = [str(i) for i in range(20_000)], np.ones((20_000, 2))
    tracemalloc.start()
    resample_means(values, units, 150, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 45 * 2**20  # in one chunk it would be 150 x 20 000 x (8 + 8) bytes, 46 MiB


def test_intervals_hold_the_mean_and_are_reproducible(shifted: Path) -> None:
    first, again = (evaluate(shifted / "found", shifted / "seg").summary for _ in range(2))
    assert json.dumps(first) == json.dumps(again)
    bounds = first["intervals"]
    assert (bounds["resampled"], bounds["units"], bounds["level"]) == ("image", 5, 0.95)
    for kind in ("mean", "pooled"):
        for name, (low, high) in bounds[kind].items():
            assert low <= first[kind][name] + 1e-9 and first[kind][name] <= high + 1e-9, name
    few = [
        evaluate(
            shifted / "found", shifted / "seg", EvaluationSettings(resamples=20, seed=seed)
        ).summary
        for seed in (0, 1)
    ]
    assert few[0]["intervals"]["pooled"] != few[1]["intervals"]["pooled"]
    none = evaluate(shifted / "found", shifted / "seg", EvaluationSettings(resamples=0)).summary
    assert none["intervals"]["mean"] == {}


def test_groups_are_resampled_and_have_intervals_of_their_own(shifted: Path) -> None:
    summary = evaluate(shifted / "found", shifted / "truth.csv").summary
    assert summary["intervals"]["resampled"] == "group" and summary["intervals"]["units"] == 2
    assert set(summary["intervals"]["groups"]) == {"a", "b"}
    low, high = summary["intervals"]["groups"]["b"]["dice"]
    assert low < summary["groups"]["b"]["dice"] < high


def test_a_second_annotator_is_shown_beside_the_model(shifted: Path) -> None:
    (shifted / "person/img_4.tif").unlink()
    evaluation = evaluate(shifted / "found", shifted / "truth.csv", annotator2=shifted / "person")
    people = evaluation.summary["annotator2"]
    assert people["images"] == [f"img_{n}" for n in range(4)] and people["missing"] == ["img_4"]
    alone = evaluate(shifted / "person", shifted / "truth.csv").summary
    assert people["mean"] == alone["mean"]
    dice = [row["dice"] for row in evaluation.rows[:4]]
    assert people["model"]["dice"] == pytest.approx(np.mean(dice))
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(terminal_tables(evaluation))
    assert "annotator 2" in console.export_text()
    rows = [{"id": f"img_{n}", "seg1": f"person/img_{n}.tif"} for n in range(4)]
    write_manifest(shifted / "second.csv", rows)
    table = evaluate(shifted / "found", shifted / "truth.csv", annotator2=shifted / "second.csv")
    assert table.summary["annotator2"]["mean"] == people["mean"]


def test_an_annotator_of_other_images_is_refused(shifted: Path, tiff: Callable) -> None:
    tiff(shifted / "strange/zebra.tif", np.ones((12, 40, 40), np.uint8))
    with pytest.raises(ManifestError, match="no prediction has a truth of the same id"):
        evaluate(shifted / "found", shifted / "seg", annotator2=shifted / "strange")
    (shifted / "found/img_4.tif").unlink()
    with pytest.raises(ManifestError, match="holds none of the scored images"):
        evaluate(shifted / "found", shifted / "seg", annotator2=shifted / "person/img_4.tif")


def test_invalid_settings_are_all_reported_at_once() -> None:
    with pytest.raises(ConfigError, match=r"3 problems(.|\n)*tolerance(.|\n)*spacing(.|\n)*resam"):
        EvaluationSettings(tolerance_um=-1, spacing_um=(1, 0, 1), resamples=-1)
    wrong: dict[str, Any] = {"tolerance_um": "abc", "seed": 1.5, "overlays": True, "overwrite": 1}
    with pytest.raises(ConfigError) as caught:
        EvaluationSettings(**wrong, spacing_um="1")  # type: ignore[arg-type]
    assert caught.value.problems == [
        "tolerance_um=abc: expected a number, 0 or more",
        "spacing_um=1: expected [z,y,x] in um, each above 0",
        "seed=1.5: expected a whole number, 0 or more",
        "overlays=True: expected a whole number, 0 or more",
        "overwrite=1: expected true or false",
    ]


def test_distances_in_um_and_in_voxels_have_no_mean(shifted: Path) -> None:
    import tifffile

    labels = read_labels(shifted / "seg/img_0.tif")
    for name in ("seg", "found"):  # without a voxel size
        tifffile.imwrite(shifted / name / "img_0.tif", labels)
    summary = evaluate(shifted / "found", shifted / "seg").summary
    assert summary["unit"] == "mixed"
    assert summary["mean"]["hd95"] is summary["pooled"]["surface_dice"] is None
    assert summary["intervals"]["mean"]["surface_dice"] is None
    assert summary["mean"]["dice"] is not None


@pytest.mark.parametrize(
    "change, match",
    [
        (lambda a: a[:, :, :39], r"shape \(12, 40, 39\) but the truth"),
        (lambda a: a / np.float32(3), "holds fractions"),
        (lambda a: -a.astype(np.int16), "holds negative labels"),
    ],
)
def test_images_without_labels_are_refused(
    shifted: Path, tiff: Callable, change: Callable, match: str
) -> None:
    import tifffile

    labels = read_labels(shifted / "found/img_3.tif")
    tifffile.imwrite(shifted / "found/img_3.tif", change(labels))
    with pytest.raises(ManifestError, match=match):
        evaluate(shifted / "found", shifted / "seg")


def test_duplicate_ids_are_refused(shifted: Path) -> None:
    rows = [{"id": "x", "labels": "found/img_0.tif"}, {"id": "x", "labels": "found/img_1.tif"}]
    write_manifest(shifted / "twice.csv", rows)
    with pytest.raises(ManifestError, match="'x'"):
        evaluate(shifted / "twice.csv", shifted / "seg")


def test_an_empty_truth_or_prediction_has_documented_scores(tmp_path: Path, tiff: Callable) -> None:
    some = np.zeros((20, 20), np.uint8)
    some[4:9, 4:9] = 1
    cases = {"neither": (0, 0), "no_truth": (0, 1), "no_prediction": (1, 0)}
    for name, (true, found) in cases.items():
        tiff(tmp_path / f"truth/{name}.tif", some * np.uint8(true))
        tiff(tmp_path / f"found/{name}.tif", some * np.uint8(found))
    evaluation = evaluate(tmp_path / "found", tmp_path / "truth")
    rows = {row["id"]: row for row in evaluation.rows}
    for name in ("dice", "iou", "surface_dice", "f1_50", "mean_ap", "rq", "pq", "aji"):
        found = [rows[case][name] for case in cases]
        assert found == [1, 0, 0], name
    assert rows["neither"]["hd95"] == 0 and np.isnan(rows["no_truth"]["hd95"])
    assert np.isnan(rows["no_truth"]["volume_error"]) and np.isnan(rows["no_truth"]["seg"])
    assert rows["no_prediction"]["volume_error"] == -1 and rows["no_prediction"]["seg"] == 0
    table, _, _ = write_tables(evaluation, tmp_path / "out")
    with table.open() as file:
        assert {row["id"]: row["hd95"] for row in csv.DictReader(file)}["no_truth"] == ""


def test_the_report_is_one_self_contained_page(shifted: Path, tmp_path: Path) -> None:
    (shifted / "found/img_1.tif").unlink()
    rows = [{"id": f"<b>{n}", "seg1": f"seg/img_{n}.tif", "group": "g<h"} for n in range(2)]
    rows = [{**row, "labels": f"person/img_{n}.tif"} for n, row in enumerate(rows)]
    write_manifest(shifted / "odd.csv", rows)
    evaluation = evaluate(shifted / "odd.csv", shifted / "odd.csv")
    charts = write_charts(evaluation, tmp_path / "figures")
    assert [path.stem for path in charts] == ["f1_against_iou", "scores"]
    overlays = write_overlays(evaluation, tmp_path / "overlays", 1)
    page = write_report(evaluation, tmp_path, charts, overlays).read_text()
    assert page.count('src="data:image/webp;base64,') == 3 and "<script" not in page
    assert "http" not in page and "&lt;b&gt;0" in page and "<b>0" not in page
    assert "Recall by object size" in page and "g&lt;h" in page
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(terminal_tables(evaluation))
    assert "HD95 (um)" in console.export_text()
