"""Matching of objects against brute force, and the metrics of objects."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cytoloop.evaluation.counts.error_types import find_error_types
from cytoloop.evaluation.counts.matching import IOU_THRESHOLDS, find_overlaps, match_instances
from cytoloop.evaluation.counts.objects import instance_counts
from cytoloop.evaluation.counts.skeletons import count_skeletons
from cytoloop.evaluation.counts.surfaces import count_surfaces
from cytoloop.evaluation.counts.voxels import count_voxels
from cytoloop.evaluation.metrics import METRICS, SEMANTIC, compute_scores, instance_scores
from cytoloop.evaluation.scoring.objects import COUNTS
from cytoloop.evaluation.summary import add_counts, pool_objects

LABELS = hnp.arrays(np.uint8, (6, 7), elements=st.integers(0, 4))


def scores(truth: np.ndarray, prediction: np.ndarray, valid: np.ndarray | None = None) -> dict:
    return instance_scores(instance_counts(match_instances(truth, prediction, valid)))


def voxel_scores(counts: dict) -> dict[str, float]:
    return compute_scores(counts, [m for m in METRICS.values() if m.group == SEMANTIC])


def brute_force(truth: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    """Dense matching, straight from the definitions."""
    true = [truth == i for i in np.unique(truth) if i]
    predicted = [prediction == i for i in np.unique(prediction) if i]
    iou = np.array([[(t & p).sum() / (t | p).sum() for p in predicted] for t in true])
    iou = iou.reshape(len(true), len(predicted))
    found: dict[str, float] = {}
    total = len(true) + len(predicted)
    for threshold in IOU_THRESHOLDS:
        small, large = sorted((len(true), len(predicted)))
        table = iou if len(true) <= len(predicted) else iou.T
        matches = max(
            (
                sum(table[i, j] >= threshold for i, j in zip(range(small), order, strict=True))
                for order in itertools.permutations(range(large), small)
            ),
            default=0,
        )
        name = f"{100 * threshold:.0f}"
        found[f"tp_{name}"] = matches
        found[f"f1_{name}"] = 2 * matches / total if total else 1.0
        found[f"ap_{name}"] = matches / (total - matches) if total else 1.0
    found["mean_ap"] = np.mean([found[f"ap_{100 * t:.0f}"] for t in IOU_THRESHOLDS])
    covers = np.array([[(t & p).sum() > 0.5 * t.sum() for p in predicted] for t in true])
    inside = np.array([[(t & p).sum() > 0.5 * p.sum() for p in predicted] for t in true])
    covers, inside = (a.reshape(iou.shape).astype(bool) for a in (covers, inside))
    found["seg"] = (iou * covers).sum() / len(true) if true else np.nan
    found["merges"] = (covers.sum(0) >= 2).sum()
    found["splits"] = (inside.sum(1) >= 2).sum()
    found["missed"] = (~(covers | inside).any(1)).sum() if true else 0
    found["spurious"] = (~(covers | inside).any(0)).sum() if predicted else 0
    return found


@given(LABELS, LABELS)
@settings(max_examples=200, deadline=None)
def test_sparse_matching_equals_brute_force(truth: np.ndarray, prediction: np.ndarray) -> None:
    matching = match_instances(truth, prediction)
    counts = instance_counts(matching)
    ours = {**counts, **instance_scores(counts)}
    for name, value in brute_force(truth, prediction).items():
        if name in ours:
            np.testing.assert_allclose(ours[name], value, err_msg=name)


@given(LABELS)
def test_a_perfect_prediction_scores_one_whatever_its_ids(truth: np.ndarray) -> None:
    renamed = np.array([0, 4_000_000_000, 7, 3, 70_000], np.uint32)[truth]
    result = scores(truth, renamed)
    for name in ("f1_50", "ap_75", "mean_ap", "pq"):
        assert result[name] == 1
    if truth.any():
        assert result["seg"] == 1 and result["sq"] == 1


@given(LABELS, LABELS)
def test_f1_is_symmetric(one: np.ndarray, other: np.ndarray) -> None:
    assert scores(one, other)["f1_50"] == scores(other, one)["f1_50"]


@given(LABELS, LABELS, hnp.arrays(bool, (6, 7)), LABELS)
def test_the_excluded_region_changes_no_voxel_score(
    truth: np.ndarray, prediction: np.ndarray, valid: np.ndarray, noise: np.ndarray
) -> None:
    other = np.where(valid, prediction, noise)
    assert count_voxels(truth, prediction, valid) == count_voxels(truth, other, valid)
    assert count_voxels(np.where(valid, truth, noise), other, valid) == count_voxels(
        truth, other, valid
    )


def test_objects_in_the_excluded_region_do_not_count() -> None:
    truth = np.zeros((10, 30), np.uint8)
    truth[2:8, 2:8] = 1
    prediction = truth.copy()
    valid = np.ones(truth.shape, bool)
    valid[:, 15:] = False
    prediction[2:8, 20:26] = 9  # found by the model, never annotated
    assert scores(truth, prediction, valid)["f1_50"] == 1
    assert scores(truth, prediction)["f1_50"] < 1
    truth[2:8, 22:28] = 5  # the annotator left one there
    assert scores(truth, prediction, valid)["f1_50"] == 1


def two_squares() -> np.ndarray:
    labels = np.zeros((12, 30), np.uint8)
    labels[2:10, 2:10] = 1
    labels[2:10, 10:18] = 2
    return labels


def test_cutting_one_object_is_one_split_and_joining_two_is_one_merge() -> None:
    whole = two_squares()
    cut = whole.copy()
    cut[2:10, 6:10] = 9
    split = match_instances(whole, cut)
    assert (split.splits, split.merges, split.missed, split.spurious) == (1, 0, 0, 0)
    merge = match_instances(whole, (whole > 0).astype(np.uint8))
    assert (merge.splits, merge.merges, merge.missed, merge.spurious) == (0, 1, 0, 0)
    assert merge.seg_sum == pytest.approx(0.5 + 0.5)
    assert find_error_types(split) == (
        {1: "split", 2: "matched"},
        {1: "split", 2: "matched", 9: "split"},
    )
    assert find_error_types(merge)[1] == {1: "merged"}


def test_missed_and_spurious() -> None:
    truth, prediction = two_squares(), two_squares()
    truth[2:5, 22:26] = 3
    prediction[7:10, 22:26] = 8
    matching = match_instances(truth, prediction)
    assert (matching.missed, matching.spurious, matching.merges) == (1, 1, 0)
    assert find_error_types(matching)[0][3] == "missed"
    assert find_error_types(matching)[1][8] == "spurious"


def test_exactly_one_half_matches_and_takes_the_best_assignment() -> None:
    truth = np.array([[1, 1, 1, 1]])
    assert len(match_instances(truth, np.array([[1, 1, 0, 0]])).matched[0.5]) == 1
    assert len(match_instances(truth, np.array([[1, 1, 2, 2]])).matched[0.5]) == 1


def test_empty_images_have_documented_scores() -> None:
    empty, full = np.zeros((4, 4), np.uint8), np.ones((4, 4), np.uint8)
    nothing = scores(empty, empty)
    assert nothing["f1_50"] == nothing["mean_ap"] == nothing["pq"] == 1
    assert np.isnan(nothing["seg"])
    assert scores(full, empty)["f1_50"] == scores(empty, full)["f1_50"] == 0
    both = voxel_scores(count_voxels(empty, empty))
    assert both["dice"] == both["iou"] == 1 and np.isnan(both["precision"])
    assert voxel_scores(count_voxels(full, empty))["dice"] == 0


@given(hnp.arrays(bool, (5, 6)), hnp.arrays(bool, (5, 6)))
def test_voxel_scores_follow_their_definitions(truth: np.ndarray, found: np.ndarray) -> None:
    result = voxel_scores(count_voxels(truth, found))
    both, either = (truth & found).sum(), (truth | found).sum()
    if either:
        assert result["iou"] == pytest.approx(both / either)
        assert result["dice"] == pytest.approx(2 * both / (truth.sum() + found.sum()))


def test_pooled_scores_equal_those_of_one_large_image() -> None:
    rng = np.random.default_rng(0)
    images = [(rng.integers(0, 5, (9, 9)), rng.integers(0, 5, (9, 9))) for _ in range(3)]
    rows = [
        {
            **count_voxels(t, p),
            **count_surfaces(t, p, None, (1, 1), 1),
            **instance_counts(match_instances(t, p)),
            **count_skeletons(t, p),
        }
        for t, p in images
    ]
    large = [
        np.concatenate(
            [np.where(im[side] > 0, im[side] + 10 * n, 0) for n, im in enumerate(images)]
        )
        for side in (0, 1)
    ]
    pooled = pool_objects(add_counts(rows, COUNTS))
    for name, value in scores(*large).items():
        assert pooled[name] == pytest.approx(value), name
    assert pooled["dice"] == pytest.approx(voxel_scores(count_voxels(*large))["dice"])


def test_many_objects_are_compared_only_where_they_overlap() -> None:
    labels = np.zeros((400, 400), np.uint32)
    for number, (y, x) in enumerate(itertools.product(range(0, 400, 8), repeat=2), start=1):
        labels[y : y + 6, x : x + 6] = 1000 * number
    overlaps = find_overlaps(labels, np.roll(labels, 1, axis=1))
    assert len(overlaps.true_ids) == 2500 and len(overlaps.pairs) < 3 * 2500


def test_the_time_of_matching_grows_with_the_number_of_objects() -> None:
    side = 200
    truth = np.arange(1, side * side + 1).reshape(side, side).repeat(3, 0).repeat(3, 1)
    found = np.where(np.indices(truth.shape)[0] % 3 < 2, truth, 0)  # IoU 2/3
    start = time.process_time()
    matching = match_instances(truth, found, thresholds=(0.5,))
    assert len(matching.matched[0.5]) == side * side
    assert time.process_time() - start < 5  # 40 000 objects; a loop over all pairs takes minutes
