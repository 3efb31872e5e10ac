"""Calibration of probability maps, Dice against threshold, and maps mistaken for labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cytoloop.errors import ImageError, ManifestError
from cytoloop.evaluation import evaluate
from cytoloop.evaluation.counts.calibration import (
    calibration_error,
    dice_by_threshold,
    probability_histogram,
    reliability,
)
from cytoloop.evaluation.inputs.probability_maps import read_probability_uint8
from cytoloop.io.labels import read_labels
from cytoloop.io.writers.tiff import write_image
from cytoloop.manifest import write_manifest


@pytest.fixture
def example() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probability (0..255), truth and the region that counts, (20, 30)."""
    rng = np.random.default_rng(3)
    probability = rng.integers(0, 256, (20, 30), np.uint8)
    return probability, rng.random((20, 30)) < (probability / 255) ** 2, rng.random((20, 30)) < 0.8


def test_calibration_error_follows_its_definition(example: tuple) -> None:
    probability, truth, valid = example
    counts = probability_histogram(probability, truth, valid)
    assert counts.sum() == valid.sum() and counts[1].sum() == (truth & valid).sum()
    p, y = probability[valid] / 255, truth[valid]
    place = np.minimum((p * 10 + 1e-9).astype(int), 9)
    error = sum(
        (place == b).mean() * abs(p[place == b].mean() - y[place == b].mean())
        for b in range(10)
        if (place == b).any()
    )
    assert calibration_error(counts) == pytest.approx(error)
    bins = reliability(counts)
    assert sum(one["voxels"] for one in bins) == valid.sum()
    assert all(one["from"] <= one["probability"] <= one["to"] for one in bins)
    edge = np.full((2, 2), 51, np.uint8)  # 0.2 belongs to the bin above
    assert reliability(probability_histogram(edge, edge))[0]["from"] == 0.2


def test_calibration_error_is_0_for_a_perfect_map_and_1_for_its_opposite(example: tuple) -> None:
    _, truth, valid = example
    right = (truth * 255).astype(np.uint8)
    assert calibration_error(probability_histogram(right, truth, valid)) == 0
    assert calibration_error(probability_histogram(255 - right, truth, valid)) == 1
    assert all(
        point["dice"] == 1 for point in dice_by_threshold(probability_histogram(right, truth))
    )


def test_dice_by_threshold_is_the_dice_of_the_voxels_above_it(example: tuple) -> None:
    probability, truth, valid = example
    for point in dice_by_threshold(probability_histogram(probability, truth, valid)):
        found = (probability / 255 > point["threshold"]) & valid
        true = truth & valid
        dice = 2 * (found & true).sum() / (found.sum() + true.sum())
        assert point["dice"] == pytest.approx(dice)
    nothing = probability_histogram(np.zeros((3, 3), np.uint8), np.zeros((3, 3), bool))
    assert dice_by_threshold(nothing)[0]["dice"] == 1


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
def test_maps_of_all_dtypes_are_read_alike(kind: str, tmp_path: Path) -> None:
    probability = np.arange(256, dtype=np.uint8).reshape(16, 16)
    data = {
        "uint8": probability,
        "uint16": probability * np.uint16(257),
        "float32": probability / 255,
    }[kind]
    tifffile.imwrite(tmp_path / "p.tif", data.astype(kind))
    np.testing.assert_array_equal(read_probability_uint8(tmp_path / "p.tif"), probability)


@pytest.mark.parametrize("top", [np.float32(1.2), np.float32(np.nan), np.int16(3)])
def test_values_outside_the_probability_range_are_refused(top: np.generic, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "p.tif", np.full((8, 8), top))
    with pytest.raises(ImageError, match="is not a probability map"):
        read_probability_uint8(tmp_path / "p.tif")


@pytest.fixture
def predicted(images_3d: Path) -> Path:
    """``predictions.csv`` of two images: true labels, and maps of probability 0.7 and 0.08."""
    rows = []
    for number in range(2):
        truth = read_labels(images_3d / f"seg/img_{number}.tif")
        probability = np.where(truth > 0, 180, 20).astype(np.uint8)
        name = f"prob/img_{number}.ome.tif"
        write_image(images_3d / name, probability, "ZYX", None, ["probability"])
        rows.append({"id": f"img_{number}", "labels": f"seg/img_{number}.tif", "probability": name})
    write_manifest(images_3d / "predictions.csv", rows)
    return images_3d / "predictions.csv"


def test_probability_is_scored_where_the_table_names_maps(predicted: Path) -> None:
    evaluation = evaluate(predicted, predicted.parent / "seg")
    found = evaluation.summary["calibration"]
    assert found["images"] == 2 and found["best_dice"] == 1
    assert 0.05 < found["ece"] < 0.15
    assert evaluation.rows[0]["ece"] == pytest.approx(found["ece"], abs=0.02)
    assert evaluation.summary["mean"]["ece"] is not None
    plain = evaluate(predicted.parent / "seg", predicted.parent / "seg").summary
    assert "calibration" not in plain and "ece" not in plain["mean"]


def test_a_map_of_another_shape_is_refused(predicted: Path) -> None:
    path = predicted.parent / "prob/img_1.ome.tif"
    write_image(path, np.zeros((12, 40, 39), np.uint8), "ZYX")
    with pytest.raises(ManifestError, match=r"shape \(12, 40, 39\) but the truth"):
        evaluate(predicted, predicted.parent / "seg")


def test_a_folder_of_maps_is_refused_as_labels(predicted: Path, tiff: Callable) -> None:
    with pytest.raises(ManifestError, match="is a probability map(.|\n)*predictions.csv"):
        evaluate(predicted.parent / "prob", predicted.parent / "seg")
    for number in range(2):
        path = predicted.parent / f"float/img_{number}.tif"
        tiff(path, np.full((12, 40, 40), 0.3, np.float32))
    with pytest.raises(ManifestError, match="holds fractions(.|\n)*predictions_are=probability"):
        evaluate(predicted.parent / "float", predicted.parent / "seg")
