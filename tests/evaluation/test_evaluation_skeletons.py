"""Scores of thin structures, and masks whose voxel scores lead."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from cytoloop.evaluation import EvaluationSettings, evaluate
from cytoloop.evaluation.counts.skeletons import COUNTS, count_skeletons
from cytoloop.evaluation.leading import main_scores
from cytoloop.evaluation.metrics import METRICS, SKELETON, compute_scores
from cytoloop.evaluation.output.terminal import terminal_tables

OF_SKELETONS = [metric for metric in METRICS.values() if metric.group == SKELETON]


def letter_t(ndim: int) -> np.ndarray:
    """Return bars five voxels wide that meet in one point, in a plane."""
    plane = np.zeros((60, 120), bool)
    plane[28:33, 5:115] = True
    plane[5:28, 58:63] = True
    return plane if ndim == 2 else np.stack([plane & (2 <= z < 7) for z in range(9)])


@pytest.mark.parametrize("ndim", [2, 3])
def test_an_equal_mask_has_no_gap_and_clean_scores(ndim: int) -> None:
    truth = letter_t(ndim)
    counts = count_skeletons(truth, truth)
    assert counts["skeleton_true"] == counts["skeleton_predicted_right"] > 100
    assert counts["branches_true"] == counts["branches_predicted"] == 1
    scores = compute_scores(counts, OF_SKELETONS)
    assert scores == {
        "cldice": 1.0,
        "skeleton_precision": 1.0,
        "skeleton_recall": 1.0,
        "gaps": 0,
        "branch_error": 0,
    }


@pytest.mark.parametrize("ndim", [2, 3])
def test_gaps_interrupt_a_line_and_missed_ends_do_not(ndim: int) -> None:
    truth = letter_t(ndim)
    found = truth.copy()
    found[..., 100:] = False
    ends = count_skeletons(truth, found)
    assert ends["gaps"] == 0 and 0 < ends["skeleton_true_found"] < ends["skeleton_true"]
    found[..., 28:33, 30:38] = False
    found[..., 28:33, 80:88] = False
    assert count_skeletons(truth, found)["gaps"] == 2
    found[..., :28, :] = False  # the other bar as a whole: its end and the branch point
    counts = count_skeletons(truth, found)
    assert counts["gaps"] == 2 and counts["branches_predicted"] < counts["branches_true"]
    scores = compute_scores(counts, OF_SKELETONS)
    assert scores["skeleton_precision"] == 1 and scores["branch_error"] == -1
    missing = counts["skeleton_true_found"] / counts["skeleton_true"]
    assert scores["cldice"] == pytest.approx(2 * missing / (1 + missing))


def test_a_ring_that_is_cut_once_has_a_gap() -> None:
    y, x = np.indices((80, 80)) - 40
    ring = np.abs(np.hypot(y, x) - 28) < 2
    assert count_skeletons(ring, ring & ~((x > 0) & (abs(y) < 6)))["gaps"] == 1


def test_a_wide_prediction_finds_the_skeleton() -> None:
    truth = letter_t(2)
    wide = truth | np.roll(truth, 3, 0) | np.roll(truth, -3, 0)
    scores = compute_scores(count_skeletons(truth, wide), OF_SKELETONS)
    assert scores["skeleton_recall"] == 1 and scores["skeleton_precision"] > 0.8


@pytest.mark.parametrize("radius", [6, 12])
def test_blobs_are_not_thin(radius: int) -> None:
    y, x = np.indices((90, 120))
    centres = [(20, 20), (60, 30), (25, 90), (60, 85)]
    blobs = np.logical_or.reduce([np.hypot(y - a, x - b) < radius for a, b in centres])
    counts = count_skeletons(blobs, blobs)
    assert counts == dict.fromkeys(COUNTS, 0)
    assert all(math.isnan(value) for value in compute_scores(counts, OF_SKELETONS).values())


def test_without_prediction_and_without_truth() -> None:
    truth, empty = letter_t(2), np.zeros((60, 120), bool)
    scores = compute_scores(count_skeletons(truth, empty), OF_SKELETONS)
    assert scores["cldice"] == scores["skeleton_recall"] == scores["gaps"] == 0
    assert math.isnan(scores["skeleton_precision"])
    assert count_skeletons(empty, truth) == dict.fromkeys(COUNTS, 0)


def test_excluded_voxels_count_for_nothing() -> None:
    truth = letter_t(2)
    found = truth.copy()
    found[:, 90:] = False
    valid = np.ones_like(truth)
    valid[:, 85:] = False
    scores = compute_scores(count_skeletons(truth, found, valid), OF_SKELETONS)
    assert scores["cldice"] == 1 and scores["gaps"] == 0


def shown(evaluation: object) -> str:
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(terminal_tables(evaluation))  # type: ignore[arg-type]
    return console.export_text()


def test_scores_of_voxels_lead_where_every_truth_is_a_mask(tmp_path: Path, tiff: Callable) -> None:
    truth, found = letter_t(2), letter_t(2)
    found[28:33, 30:38] = False
    for side, mask in (("truth", truth), ("pred", found)):
        for row, name in enumerate("ab"):
            tiff(tmp_path / side / f"{name}.tif", np.roll(mask, row, 0).astype(np.uint8))
    settings = EvaluationSettings(resamples=0)
    masks = evaluate(tmp_path / "pred", tmp_path / "truth", settings)
    assert main_scores(masks.summary) == ("dice",)
    assert masks.summary["pooled"]["gaps"] == 2 and masks.summary["mean"]["cldice"] < 1
    first, *others = shown(masks).split("score ")
    assert "clDice" in first and "gaps" in first and "F1@.5" not in first
    assert "F1@.5" in "".join(others) and "connected pieces" in " ".join(first.split())
    for row, name in enumerate("ab"):
        halves = np.where(truth, 1 + (np.arange(120) > 60), 0)
        tiff(tmp_path / "truth" / f"{name}.tif", np.roll(halves, row, 0).astype(np.uint8))
    objects = evaluate(tmp_path / "pred", tmp_path / "truth", settings)
    assert main_scores(objects.summary)[0] == "f1_50"
    assert "cldice" not in objects.summary["mean"] and "F1@.5" in shown(objects).split("score ")[0]
