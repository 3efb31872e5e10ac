"""Metrics and tables of objects: AJI, error types, centroids, recall by size."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.measure import regionprops

from cytoloop.evaluation import EvaluationSettings, evaluate
from cytoloop.evaluation.counts.matching import match_instances
from cytoloop.evaluation.counts.object_table import make_object_tables
from cytoloop.evaluation.counts.objects import instance_counts
from cytoloop.evaluation.metrics import instance_scores
from cytoloop.evaluation.output.tables import write_tables
from cytoloop.evaluation.size_recall import recall_by_size
from cytoloop.manifest import write_manifest

LABELS = hnp.arrays(np.uint8, (6, 7), elements=st.integers(0, 4))


def scores(truth: np.ndarray, found: np.ndarray) -> dict[str, float]:
    return instance_scores(instance_counts(match_instances(truth, found)))


def aji(truth: np.ndarray, found: np.ndarray) -> float:
    """The aggregated Jaccard index, with a mask for every object."""
    true = [truth == i for i in np.unique(truth) if i]
    predicted = {i: found == i for i in np.unique(found) if i}
    shared, union, used = 0, 0, set()
    for mask in true:
        best = max(
            predicted,
            key=lambda i: (mask & predicted[i]).sum() / (mask | predicted[i]).sum(),
            default=None,
        )
        if best is None or not (mask & predicted[best]).any():
            union += mask.sum()
            continue
        shared += (mask & predicted[best]).sum()
        union += (mask | predicted[best]).sum()
        used.add(best)
    union += sum(mask.sum() for i, mask in predicted.items() if i not in used)
    return shared / union if union else 1.0


def has_ties(truth: np.ndarray, found: np.ndarray) -> bool:
    """Whether a true object has two equally good partners: then AJI depends on their order."""
    for i in np.unique(truth[truth > 0]):
        mask = truth == i
        values = [
            (mask & (found == j)).sum() / (mask | (found == j)).sum()
            for j in np.unique(found[mask])
            if j
        ]
        if len(values) > 1 and values.count(max(values)) > 1:
            return True
    return False


@given(LABELS, LABELS)
@settings(max_examples=200, deadline=None)
def test_aji_follows_its_definition(truth: np.ndarray, found: np.ndarray) -> None:
    if not has_ties(truth, found):
        assert scores(truth, found)["aji"] == pytest.approx(aji(truth, found))


@given(LABELS, LABELS, st.permutations(range(1, 5)))
@settings(max_examples=100, deadline=None)
def test_renaming_changes_no_score(truth: np.ndarray, found: np.ndarray, names: list[int]) -> None:
    renamed = np.array([0, *(70_000 * n for n in names)], np.uint32)
    ours, other = scores(truth, found), scores(renamed[truth], renamed[found])
    np.testing.assert_equal(ours, other)
    assert ours["rq"] == ours["f1_50"]
    same = scores(truth, renamed[truth])
    assert same["aji"] == same["pq"] == same["rq"] == 1 and same["count_error"] == 0


@given(LABELS, st.integers(0, 3), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_cutting_one_object_is_exactly_one_split(
    truth: np.ndarray, which: int, random: object
) -> None:
    ids = [i for i in np.unique(truth) if i and (truth == i).sum() >= 2]
    if not ids:
        return
    places = np.argwhere(truth == ids[which % len(ids)])
    cut = truth.copy()
    first = random.randint(1, len(places) - 1)  # type: ignore[attr-defined]
    cut[tuple(places[:first].T)] = 9
    matching = match_instances(truth, cut)
    assert (matching.splits, matching.merges) == (1, 0)
    assert (matching.missed, matching.spurious) == (0, 0)
    turned = match_instances(cut, truth)
    assert (turned.merges, turned.splits) == (1, 0)


@given(LABELS, LABELS, hnp.arrays(bool, (6, 7)))
@settings(max_examples=100, deadline=None)
def test_object_tables_agree_with_the_matching_and_scikit_image(
    truth: np.ndarray, found: np.ndarray, valid: np.ndarray
) -> None:
    matching = match_instances(truth, found, valid)
    true, predicted = make_object_tables(truth, found, valid, matching)
    assert (true.match > 0).sum() == (predicted.match > 0).sum() == len(matching.matched[0.5])
    assert true.error_types.count("missed") == matching.missed
    assert predicted.error_types.count("spurious") == matching.spurious
    partner = dict(zip(predicted.ids, predicted.match, strict=True))
    for i, label in enumerate(true.ids):
        if true.match[i]:
            assert partner[true.match[i]] == label and true.iou[i] >= 0.5
            assert true.nearest[i] == true.match[i]
        assert (true.nearest[i] == 0) == (true.iou[i] == 0)
        if not true.match[i]:
            pairs = matching.overlaps.pairs[:, 0] == i
            assert true.iou[i] == max(matching.overlaps.iou[pairs], default=0)
    for prop in regionprops(np.where(valid, truth, 0).astype(int)):
        place = np.flatnonzero(true.ids == prop.label)
        if len(place):  # at least half of it is not excluded
            assert true.voxels[place[0]] == prop.area
            np.testing.assert_allclose(true.centres[place[0]], prop.centroid)


def test_the_match_is_the_nearest_of_two_equal_partners() -> None:
    truth = np.array([[1, 1, 1, 1], [0, 0, 0, 0], [2, 2, 2, 2]])
    for found in ([[3, 3, 4, 4]], [[4, 4, 3, 3]]):
        both = np.array([*found, [0] * 4, *found]) + np.array([[0], [0], [5]])
        true, _ = make_object_tables(truth, both, None, match_instances(truth, both))
        np.testing.assert_array_equal(true.nearest, true.match)


def test_recall_by_size_uses_the_quartiles_of_all_objects() -> None:
    volumes = [np.array([10.0, 20, 30, 40]), np.array([50.0, 60, 70, 80]), np.array([])]
    found = [np.array([False, False, True, True]), np.ones(4, bool), np.zeros(0, bool)]
    limits, images = recall_by_size(volumes, found)
    assert limits == [10, 27.5, 45, 62.5, 80]
    assert [images[0][f"recall_q{n}"] for n in (1, 2)] == [0, 1]
    assert np.isnan(images[0]["recall_q3"]) and images[1]["recall_q4"] == 1
    assert [sum(one[f"true_q{n}"] for one in images) for n in range(1, 5)] == [2, 2, 2, 2]
    assert np.isnan(images[2]["recall_q1"])
    assert recall_by_size([np.array([])], [np.zeros(0, bool)])[0] == []
    equal = recall_by_size([np.full(5, 7.0)], [np.ones(5, bool)])[1][0]
    assert equal["true_q1"] == 5 and equal["recall_q1"] == 1


def test_each_object_has_a_row_with_its_volume(tmp_path: Path, tiff: Callable) -> None:
    truth = np.zeros((4, 20, 20), np.uint8)
    truth[1:3, 2:6, 2:6], truth[1:3, 12:16, 2:6] = 1, 2
    found = np.where(truth == 1, 7, 0).astype(np.uint8)
    found[0, 18, 18] = 9
    tiff(tmp_path / "truth/a.tif", truth)
    tiff(tmp_path / "found/a.tif", found)
    write_manifest(tmp_path / "t.csv", [{"id": "a", "seg1": "truth/a.tif", "group": "g"}])
    evaluation = evaluate(tmp_path / "found", tmp_path / "t.csv")
    _, objects, _ = write_tables(evaluation, tmp_path / "out")
    with objects.open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["side"], r["object"], r["kind"], r["match"]) for r in rows] == [
        ("true", "1", "matched", "7"),
        ("true", "2", "missed", ""),
        ("predicted", "9", "spurious", ""),
        ("predicted", "7", "matched", "1"),
    ]
    first = rows[0]
    assert (first["image"], first["group"], first["iou"]) == ("a", "g", "1.0")
    assert (first["z"], first["y"], first["x"]) == ("1.5", "3.5", "3.5")
    assert first["volume_voxels"] == "32"
    assert float(first["volume_um3"]) == pytest.approx(32 * 0.6 * 0.3 * 0.3)
    sizes = evaluation.summary["recall_by_size"]
    assert sizes["unit"] == "um3" and evaluation.summary["unit"] == "um"


def test_without_a_voxel_size_distances_and_volumes_are_in_voxels(tmp_path: Path) -> None:
    import tifffile

    labels = np.zeros((30, 30), np.uint8)
    labels[5:12, 5:12] = 1
    for name in ("truth", "found"):
        (tmp_path / name).mkdir()
        tifffile.imwrite(tmp_path / name / "a.tif", np.roll(labels, 2 * (name == "found"), 1))
    summary = evaluate(tmp_path / "found", tmp_path / "truth").summary
    assert summary["unit"] == "voxel" and summary["mean"]["hd95"] == 2
    assert summary["recall_by_size"]["unit"] == "voxels"
    settings_um = EvaluationSettings(tolerance_um=0.5, spacing_um=(1, 0.25, 0.25))
    in_um = evaluate(tmp_path / "found", tmp_path / "truth", settings_um)
    assert in_um.summary["unit"] == "um" and in_um.summary["mean"]["hd95"] == 0.5
    assert in_um.summary["mean"]["surface_dice"] == 1
    assert in_um.summary["recall_by_size"]["unit"] == "um2"
    assert in_um.rows[0]["spacing_um"] == "1 0.25 0.25"


def test_the_voxel_size_of_a_table_wins_over_that_of_the_files(
    tmp_path: Path, tiff: Callable
) -> None:
    labels = np.zeros((4, 20, 20), np.uint8)
    labels[1:3, 2:6, 2:6] = 1
    tiff(tmp_path / "truth.tif", labels)
    row = {"id": "a", "seg1": "truth.tif", "labels": "truth.tif", "spacing_um": "3 2 2"}
    write_manifest(tmp_path / "t.csv", [row])
    evaluation = evaluate(tmp_path / "t.csv", tmp_path / "t.csv")
    assert [image.voxel_um3 for image in evaluation.images] == [12] and evaluation.rows[0][
        "spacing_um"
    ] == "3 2 2"
