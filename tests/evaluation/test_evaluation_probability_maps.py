"""Probability maps of other programs: scored with predictions_are=, else refused as labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cytoloop.errors import ConfigError, ManifestError
from cytoloop.evaluation import EvaluationSettings, evaluate
from cytoloop.evaluation.figures.overlays import write_overlays
from cytoloop.evaluation.output.tables import write_tables
from cytoloop.io.labels import read_labels
from cytoloop.manifest import write_manifest
from cytoloop.truth.plausible_labels import why_not_labels


def blurred(shape: tuple[int, ...], count: int, width: float, gain: float, seed: int) -> np.ndarray:
    """Return a probability map, 0 to 1: blurred points, steepened by a sigmoid."""
    rng = np.random.default_rng(seed)
    points = np.zeros(shape)
    points.flat[rng.choice(points.size, count, replace=False)] = 1
    smooth = ndimage.gaussian_filter(points, width)
    return 1 / (1 + np.exp(-(smooth / smooth.max() - 0.4) * gain))


@pytest.fixture
def maps(tmp_path: Path, tiff: Callable) -> Path:
    """Two images: masks in truth/, and maps in u8/, u16/ and f32/."""
    for seed, name in enumerate("ab"):
        levels = np.round(blurred((12, 40, 40), 6, 3, 20, seed) * 255).astype(np.uint8)
        found = levels / 255
        tiff(tmp_path / f"truth/{name}.tif", (levels > 102).astype(np.uint8))
        tiff(tmp_path / f"u8/{name}.tif", levels)
        tiff(tmp_path / f"u16/{name}.tif", np.round(found * 65535).astype(np.uint16))
        tiff(tmp_path / f"f32/{name}.tif", found.astype(np.float32))
    return tmp_path


@pytest.mark.parametrize("kind", ["u8", "u16", "f32"])
def test_maps_are_refused_as_labels_all_at_once_with_a_repair(maps: Path, kind: str) -> None:
    with pytest.raises(ManifestError, match="2 problems(.|\n)*a probability map") as caught:
        evaluate(maps / kind, maps / "truth")
    text = str(caught.value)
    assert "a.tif: holds " in text and "b.tif: holds " in text
    assert "predictions_are=probability" in text and "predictions_are=labels" in text


@pytest.mark.parametrize("kind", ["u8", "u16", "f32"])
def test_a_map_is_split_into_components_above_the_threshold(
    maps: Path, kind: str, tmp_path: Path
) -> None:
    at = EvaluationSettings(predictions_are="probability", threshold=0.4, resamples=0)
    found = evaluate(maps / kind, maps / "truth", at)
    assert found.summary["mean"]["dice"] == found.summary["mean"]["f1_50"] == 1
    assert found.summary["calibration"]["images"] == found.summary["prediction_is_binary"] == 2
    higher = EvaluationSettings(predictions_are="probability", threshold=0.8, resamples=0)
    other = evaluate(maps / kind, maps / "truth", higher)
    assert other.summary["mean"]["dice"] < 0.9
    assert write_overlays(other, tmp_path / "pictures", 1)  # with the threshold of the scores
    table = write_tables(other, tmp_path / "out")[0]
    assert evaluate(table, table).summary["mean"]["dice"] == other.summary["mean"]["dice"]


def test_predictions_are_selects_the_column_of_a_table(maps: Path) -> None:
    rows = [
        {"id": "a", "labels": "truth/a.tif", "mask": "truth/b.tif", "probability": "u8/a.tif"},
        {"id": "b", "labels": "truth/b.tif", "probability": "u8/b.tif"},
    ]
    write_manifest(maps / "predictions.csv", rows)

    def scored(kind: str) -> list[tuple[int, float]]:
        given = EvaluationSettings(predictions_are=kind, threshold=0.4, resamples=0)
        found = evaluate(maps / "predictions.csv", maps / "truth", given)
        return [(row["n_predicted"] > 1, row["dice"]) for row in found.rows]

    assert scored("auto") == scored("labels") == [(False, 1), (False, 1)]
    assert scored("probability") == [(True, 1), (True, 1)]
    (split, dice), *others = scored("mask")
    assert split and dice < 1 and not others  # b has no mask


def test_predictions_are_overrules_the_content_of_a_file(maps: Path) -> None:
    as_labels = EvaluationSettings(predictions_are="labels", resamples=0)
    assert evaluate(maps / "u8", maps / "truth", as_labels).rows[0]["n_predicted"] > 100
    as_mask = EvaluationSettings(predictions_are="mask", resamples=0)
    assert evaluate(maps / "u8", maps / "truth", as_mask).rows[0]["n_predicted"] < 100
    assert evaluate(maps / "truth", maps / "truth", as_labels).rows[0]["n_predicted"] == 1


def test_maps_in_the_cells_of_other_tools_are_refused(maps: Path) -> None:
    """A table of another program may name its maps, or blurred masks, as labels."""
    write_manifest(maps / "p.csv", [{"id": "a", "labels": "u8/a.tif"}])
    with pytest.raises(ManifestError, match="a probability map or a photograph"):
        evaluate(maps / "p.csv", maps / "truth")
    stated = EvaluationSettings(predictions_are="labels", resamples=0)
    assert len(evaluate(maps / "p.csv", maps / "truth", stated).rows) == 1


def test_invalid_settings_and_cells_are_named(maps: Path) -> None:
    with pytest.raises(
        ConfigError, match="2 problems(.|\n)*threshold=1(.|\n)*expected one of auto, labels"
    ):
        EvaluationSettings(predictions_are="maps", threshold=1)
    write_manifest(maps / "p.csv", [{"id": "a", "probability": "u8/a.tif", "above": "half"}])
    with pytest.raises(ManifestError, match="'half' is not a threshold"):
        evaluate(maps / "p.csv", maps / "truth")


@given(
    st.sampled_from([(64, 64), (200, 150), (10, 40, 40)]),
    st.integers(5, 60),
    st.floats(1.5, 4),
    st.floats(6, 30),
    st.sampled_from([(np.uint8, 255), (np.uint16, 65535), (np.uint8, 100)]),
    st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_maps_of_all_dtypes_are_recognised(
    shape: tuple[int, ...], count: int, width: float, gain: float, form: tuple, seed: int
) -> None:
    dtype, top = form
    found = (blurred(shape, count, width, gain, seed) * top).astype(dtype)
    if len(np.unique(found)) > 32:  # a map with few values may pass
        assert why_not_labels(found)
        assert why_not_labels(found.astype(np.float32))


@given(st.integers(8, 300), st.integers(0, 99), st.sampled_from([(64, 64), (12, 40, 40)]))
@settings(max_examples=30, deadline=None)
def test_labels_of_dense_tissue_pass(count: int, seed: int, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(seed)
    seeds = np.zeros(shape, np.uint16)
    seeds.flat[rng.choice(seeds.size, count, replace=False)] = 1 + np.arange(count)
    nearest = ndimage.distance_transform_edt(seeds == 0, return_indices=True)[1]
    tissue = seeds[tuple(nearest)]
    assert why_not_labels(tissue) is None
    strays = np.where(rng.random(shape) < 0.01, rng.integers(1, count, shape), tissue)
    assert why_not_labels(strays) is None  # one main piece each, with stray voxels


def test_unusual_labels_pass() -> None:
    row = np.zeros((40, 600), np.uint16)  # cells in a row, numbered in order
    row[10:22] = 1 + np.arange(600) // 12
    spots = np.zeros((256, 256), np.uint16)
    spots.flat[np.random.default_rng(0).choice(spots.size, 900, replace=False)] = range(1, 901)
    grid = (np.arange(64)[:, None] // 8 * 8 + np.arange(64) // 8 + 1).astype(np.uint16)
    layers = np.repeat(np.arange(1, 13), 4)[:, None] * np.ones(50, int)
    for labels in (row, spots, grid, layers, np.zeros((5, 5), np.uint8), spots > 0, spots * 1.0):
        assert why_not_labels(labels) is None
    assert why_not_labels(np.full((4, 4), np.nan)) is None  # as_labels refuses NaN


def test_a_wide_smooth_map_is_recognised_by_its_steps() -> None:
    y, x = np.indices((256, 256))
    cone = np.maximum(60 - np.hypot(y - 120, x - 130) / 2, 0).astype(np.uint8)
    assert "rise and fall by 1" in str(why_not_labels(cone))


@pytest.mark.realdata
def test_real_labels_pass_and_real_photographs_do_not(real_data: Path) -> None:
    files = [
        *sorted((real_data / "bbbc050/labels").glob("*.tif"))[::6],
        *sorted((real_data / "dsb2018/masks").glob("*.tif"))[::15],
        *(real_data / "ovules").glob("*.h5"),
        real_data / "cells3d/nuclei_label.tif",
    ]
    for path in files:
        labels = read_labels(path, scene="label" if path.suffix == ".h5" else None)
        parts = [labels, labels[labels.shape[0] // 2 :], labels[..., ::4, ::4]]
        assert [why_not_labels(part) for part in parts] == [None] * 3, path.name
    for path in sorted((real_data / "bbbc050/images").glob("*.tif"))[::12]:
        assert why_not_labels(tifffile.imread(path)), path.name
