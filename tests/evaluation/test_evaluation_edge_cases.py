"""Masks, excluded regions, and input that is refused."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.metrics import compute_dice, compute_iou
from rich.console import Console

from cytoloop.errors import ConfigError, ImageError, ManifestError, OutputError
from cytoloop.evaluation import evaluate, image_figure, terminal_tables
from cytoloop.evaluation.counts.error_types import ERROR_TYPES, find_error_types
from cytoloop.evaluation.counts.matching import Matching, find_overlaps, match_instances
from cytoloop.evaluation.counts.voxels import count_voxels
from cytoloop.evaluation.figures.artists import ERROR_COLOURS
from cytoloop.evaluation.inputs.images import label_mask
from cytoloop.evaluation.metrics import METRICS, compute_scores
from cytoloop.evaluation.output.tables import write_tables
from cytoloop.io.labels import read_labels
from cytoloop.manifest import write_manifest

LABELS = hnp.arrays(np.uint8, (6, 7), elements=st.integers(0, 4))
VALID = hnp.arrays(bool, (6, 7))


@pytest.fixture
def squares() -> np.ndarray:
    """Four squares on 40 x 40, two of them touching at a corner."""
    labels = np.zeros((40, 40), np.uint16)
    for number, (y, x) in enumerate([(2, 2), (12, 12), (2, 26), (26, 2)], start=1):
        labels[y : y + 10, x : x + 10] = number
    return labels


def counts(matching: Matching) -> tuple[int, int, int]:
    found = matching.overlaps
    return len(found.true_ids), len(found.predicted_ids), len(matching.matched[0.5])


@pytest.mark.parametrize("value", [1, 255])
def test_a_mask_is_split_into_components_whatever_its_value(
    squares: np.ndarray, value: int, tmp_path: Path, tiff: Callable
) -> None:
    tiff(tmp_path / "labels/a.tif", squares)
    tiff(tmp_path / "mask/a.tif", ((squares > 0) * value).astype(np.uint8))
    for predicted, true in (("labels", "mask"), ("mask", "labels"), ("mask", "mask")):
        evaluation = evaluate(tmp_path / predicted, tmp_path / true)
        row = evaluation.rows[0]
        assert (row["n_truth"], row["n_predicted"], row["f1_50"]) == (4, 4, 1), (predicted, true)
        assert evaluation.summary["truth_is_binary"] == (true == "mask")
        assert evaluation.summary["prediction_is_binary"] == (predicted == "mask")
        again = write_tables(evaluation, tmp_path / "out")[0]
        assert evaluate(again, again).rows[0]["n_predicted"] == 4  # metrics.csv is a manifest


def test_a_labels_cell_is_read_as_labels(
    squares: np.ndarray, tmp_path: Path, tiff: Callable
) -> None:
    tiff(tmp_path / "truth/a.tif", squares)
    tiff(tmp_path / "one.tif", (squares > 0).astype(np.uint8))
    write_manifest(tmp_path / "predictions.csv", [{"id": "a", "labels": "one.tif"}])
    row = evaluate(tmp_path / "predictions.csv", tmp_path / "truth").rows[0]
    assert (row["n_predicted"], row["merges"]) == (1, 1)


def test_merged_truth_is_kept_in_the_metrics_and_two_masks_stay_a_mask(
    squares: np.ndarray, tmp_path: Path, tiff: Callable
) -> None:
    left = np.zeros(squares.shape, np.uint8)
    left[:, :20] = 1
    tiff(tmp_path / "region.tif", left)
    tiff(tmp_path / "predicted/a.tif", squares)
    mask = (squares > 0).astype(np.uint8)
    tiff(tmp_path / "seg1.tif", np.where(left, 0, mask))
    tiff(tmp_path / "seg2.tif", mask)
    cells = {"seg1": "seg1.tif", "seg2": "seg2.tif", "merge_mask": "region.tif"}
    write_manifest(tmp_path / "truth.csv", [{"id": "a", "base_image": "seg1", **cells}])
    evaluation = evaluate(tmp_path / "predicted", tmp_path / "truth.csv")
    assert evaluation.rows[0]["n_truth"] == 4 and evaluation.rows[0]["f1_50"] == 1
    metrics = write_tables(evaluation, tmp_path / "out")[0]
    assert evaluate(metrics, metrics).rows[0]["dice"] == 1


@pytest.mark.parametrize("side", ["truth", "prediction"])
@pytest.mark.parametrize("kind", ["inverted", "ignore", "numbered background"])
def test_inverted_masks_and_ignore_values_are_warned_of(
    squares: np.ndarray, tmp_path: Path, tiff: Callable, side: str, kind: str
) -> None:
    wrong = (squares == 0).astype(np.uint8) * 255
    if kind == "ignore":
        wrong = np.where(np.arange(len(squares))[:, None] < 3, 255, squares).astype(np.uint8)
    if kind == "numbered background":
        wrong = squares + 1
    images = {"truth": squares, "prediction": squares, side: wrong}
    for name, labels in images.items():
        tiff(tmp_path / name / "a.tif", labels)
    found = evaluate(tmp_path / "prediction", tmp_path / "truth")
    warnings = str(found.images[0].row["warnings"])
    right = "prediction" if side == "truth" else "truth"
    assert f"its {side} " in warnings and f"its {right} " not in warnings
    texts = {"inverted": "looks inverted", "ignore": "ignore_label=255"}
    assert texts.get(kind, "label 1 seems to be the background") in warnings


def test_components_connect_through_faces_only() -> None:
    corner = np.zeros((2, 2, 2), bool)
    corner[0, 0, 0] = corner[1, 1, 1] = corner[0, 1, 1] = True
    assert label_mask(corner).max() == 2
    assert label_mask(np.eye(3, dtype=bool)).max() == 3


def test_a_completely_excluded_image_is_listed_and_left_out_of_means(
    squares: np.ndarray, tmp_path: Path, tiff: Callable
) -> None:
    for name in "ab":
        tiff(tmp_path / f"truth/{name}.tif", squares)
        tiff(tmp_path / f"found/{name}.tif", np.zeros_like(squares))
    tiff(tmp_path / "all.tif", np.ones_like(squares))
    rows = [{"id": name, "seg1": f"truth/{name}.tif"} for name in "ab"]
    rows[1]["exclude_mask"] = "all.tif"
    write_manifest(tmp_path / "truth.csv", rows)
    evaluation = evaluate(tmp_path / "found", tmp_path / "truth.csv")
    assert evaluation.summary["scored"] == len(evaluation.images) == 1
    assert evaluation.summary["unscored"]["excluded_as_a_whole"] == ["b"]
    assert evaluation.summary["mean"]["dice"] == 0
    undefined = {"precision": 1, "precision_50": 1, "hd95": 1}
    assert evaluation.summary["undefined"] == undefined
    write_manifest(tmp_path / "truth.csv", rows[1:])
    with pytest.raises(ManifestError, match="all images are completely excluded"):
        evaluate(tmp_path / "found", tmp_path / "truth.csv")


def test_failed_and_rejected_images_are_listed_separately(
    squares: np.ndarray, tmp_path: Path, tiff: Callable
) -> None:
    tiff(tmp_path / "a.tif", squares)
    found = [{"id": name, "labels": "a.tif"} for name in "ab"]
    found.append({"id": "c", "status": "failed", "reason": "no such channel"})
    write_manifest(tmp_path / "predictions.csv", found)
    truth = [{"id": name, "seg1": "a.tif"} for name in "abc"]
    truth[1]["status"] = "reject"
    write_manifest(tmp_path / "truth.csv", truth)
    summary = evaluate(tmp_path / "predictions.csv", tmp_path / "truth.csv").summary
    assert summary["unscored"] == {
        "predictions_without_truth": [],
        "truths_without_prediction": ["c"],
        "truths_rejected": ["b"],
        "excluded_as_a_whole": [],
        "same_image_as_another": [],
    }
    assert summary["failures"] == {"c": "no such channel"}


def test_groups_of_one_image_each_have_no_means(
    squares: np.ndarray, tmp_path: Path, tiff: Callable
) -> None:
    tiff(tmp_path / "a.tif", squares)
    rows = [{"id": name, "seg1": "a.tif", "labels": "a.tif", "group": name} for name in "ab"]
    write_manifest(tmp_path / "t.csv", rows)
    assert evaluate(tmp_path / "t.csv", tmp_path / "t.csv").summary["groups"] == {}


def test_the_rim_of_an_excluded_object_is_neither_missed_nor_spurious(squares: np.ndarray) -> None:
    valid = np.ones(squares.shape, bool)
    valid[:, :6] = False  # six of the ten columns of squares 1 and 4 remain
    assert counts(match_instances(squares, squares, valid)) == (4, 4, 4)
    valid[:, :9] = False  # one remains: both are left out
    rim = np.where((squares > 0) & valid, squares, 0)  # predicted only where it shows
    assert counts(match_instances(squares, rim, valid)) == (2, 2, 2)
    assert match_instances(squares, rim, valid).spurious == 0


@given(LABELS, LABELS, VALID)
@settings(max_examples=150, deadline=None)
def test_exclusion_follows_its_definition(
    truth: np.ndarray, prediction: np.ndarray, valid: np.ndarray
) -> None:
    counted, kept = valid.copy(), []
    for labels in (truth, prediction):
        ids = [i for i in range(1, 5) if 2 * (counted & (labels == i)).sum() >= (labels == i).sum()]
        ids = [i for i in ids if (labels == i).any()]
        kept.append(np.where(counted & np.isin(labels, ids), labels, 0))
        counted &= (labels == 0) | np.isin(labels, ids)
    with_region = match_instances(truth, prediction, valid)
    by_hand = match_instances(*kept)
    assert counts(with_region) == counts(by_hand)
    assert with_region.seg_sum == pytest.approx(by_hand.seg_sum)


@given(LABELS, LABELS, VALID, LABELS)
@settings(max_examples=150, deadline=None)
def test_other_objects_in_the_excluded_region_change_no_instance_score(
    truth: np.ndarray, prediction: np.ndarray, valid: np.ndarray, noise: np.ndarray
) -> None:
    inside = np.where(valid, prediction, 0)
    other = np.where(valid, prediction, np.where(noise > 0, noise + 100, 0))
    one, two = (match_instances(truth, found, valid) for found in (inside, other))
    assert counts(one) == counts(two)
    assert (one.seg_sum, one.merges, one.splits) == (two.seg_sum, two.merges, two.splits)


@given(LABELS, LABELS)
@settings(max_examples=150, deadline=None)
def test_error_types_agree_with_the_counts_of_the_table(
    truth: np.ndarray, prediction: np.ndarray
) -> None:
    matching = match_instances(truth, prediction)
    true, predicted = find_error_types(matching)
    assert list(true.values()).count("missed") == matching.missed
    assert list(predicted.values()).count("spurious") == matching.spurious
    assert list(predicted.values()).count("merged") == matching.merges
    assert {*true.values(), *predicted.values()} <= {*ERROR_TYPES} == {*ERROR_COLOURS}


def test_an_object_found_with_a_poor_outline_is_inexact() -> None:
    truth, prediction = np.zeros((9, 9), np.uint8), np.zeros((9, 9), np.uint8)
    truth[3:5, 3:5] = 1
    prediction[2:7, 2:7] = 1
    matching = match_instances(truth, prediction)
    assert find_error_types(matching) == ({1: "inexact"}, {1: "inexact"})
    assert (matching.missed, matching.spurious) == (0, 0)


@pytest.mark.parametrize("dtype", [bool, np.int64, np.uint64, np.dtype(">u4")])
def test_all_integer_dtypes_are_accepted(squares: np.ndarray, dtype: type) -> None:
    labels = squares.astype(dtype)
    found = find_overlaps(labels, squares)
    assert len(found.predicted_ids) == 4 and found.shared.sum() == 400
    huge = np.where(squares > 0, squares.astype(np.uint32) + np.uint32(4_294_967_000), 0)
    assert sorted(find_overlaps(huge, squares).true_ids - 4_294_967_000) == [1, 2, 3, 4]
    assert len(find_overlaps(squares[:0], squares[:0]).true_ids) == 0


def test_invalid_arrays_are_refused_with_all_problems(
    squares: np.ndarray,
) -> None:
    with pytest.raises(ImageError, match=r"truth \(40, 40\), prediction \(20, 40\)"):
        match_instances(squares, squares[:20])
    with pytest.raises(ImageError, match=r"valid \(1, 40\)"):
        match_instances(squares, squares, np.ones((1, 40), bool))
    with pytest.raises(ImageError, match="2 problems(.|\n)*truth .float64.(.|\n)*prediction .int8"):
        match_instances(squares / 2, -squares.astype(np.int8))
    with pytest.raises(ConfigError, match=r"thresholds: 0, 1\.5"):
        match_instances(squares, squares, None, (0.0, 0.5, 1.5))


def test_an_output_folder_that_cannot_be_written_is_refused(
    squares: np.ndarray, tmp_path: Path, tiff: Callable
) -> None:
    tiff(tmp_path / "a.tif", squares)
    (tmp_path / "taken").touch()
    with pytest.raises(OutputError, match="cannot be written to"):
        write_tables(evaluate(tmp_path / "a.tif", tmp_path / "a.tif"), tmp_path / "taken")


def test_the_table_shows_ids_verbatim_and_no_nan(
    squares: np.ndarray, tmp_path: Path, tiff: Callable
) -> None:
    tiff(tmp_path / "found/fov[red].tif", squares)
    tiff(tmp_path / "truth/fov[red].tif", np.zeros_like(squares))
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(terminal_tables(evaluate(tmp_path / "found", tmp_path / "truth")))
    text = console.export_text()
    assert "fov[red]" in text and "nan" not in text


def test_an_image_figure_keeps_the_backend_of_the_caller(squares: np.ndarray) -> None:
    before = matplotlib.get_backend()
    matplotlib.use("svg")
    try:
        image_figure(squares * 1.0, squares, None, squares)
        assert matplotlib.get_backend() == "svg"
    finally:
        matplotlib.use(before)


def test_dice_and_iou_equal_monai(images_3d: Path) -> None:
    truth = read_labels(images_3d / "seg/img_0.tif") > 0
    found = np.roll(truth, 2, axis=2)
    ours = compute_scores(count_voxels(truth, found), [METRICS["dice"], METRICS["iou"]])
    batch = [torch.from_numpy(mask.astype(np.float32))[None, None] for mask in (found, truth)]
    assert ours["dice"] == pytest.approx(float(compute_dice(*batch)), abs=1e-6)
    assert ours["iou"] == pytest.approx(float(compute_iou(*batch)), abs=1e-6)
