"""Voxels that nobody labelled: ignore values, sparse and inverted annotation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cytoloop.curation import CurationSettings, curate, validate_dataset
from cytoloop.curation.checks.annotation_metrics import annotation_metrics
from cytoloop.errors import ConfigError, ManifestError
from cytoloop.evaluation import EvaluationSettings, evaluate
from cytoloop.manifest import Row, read_dataset
from cytoloop.truth.targets import read_target


@pytest.fixture
def images(tmp_path: Path, blobs: Callable, tiff: Callable) -> Callable[..., Path]:
    """Return a function that writes three images whose upper quarter has an ignore value."""

    def make(value: int, dtype: type = np.int16, shape: tuple[int, ...] = (48, 56)) -> Path:
        for number in range(3):
            raw, labels = blobs(shape, 6, number)
            labels = labels.astype(dtype)
            labels[..., :12, :] = value
            tiff(tmp_path / "raw" / f"i{number}.tif", raw)
            tiff(tmp_path / "seg" / f"i{number}.tif", labels)
        return tmp_path

    return make


def settings(folder: Path, **changes: object) -> CurationSettings:
    given = {"raw": folder / "raw", "seg1": folder / "seg", "output": folder / "ds"}
    return CurationSettings(**{**given, "leakage": "allow", **changes})


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(-1, np.int16), (255, np.uint8), (-1, np.float32), (65535, np.uint16), (9, np.uint8)],
)
@pytest.mark.parametrize("shape", [(48, 56), (6, 48, 56)])
def test_an_ignore_value_becomes_an_excluded_region(
    value: int, dtype: type, shape: tuple[int, ...], images: Callable
) -> None:
    folder = images(value, dtype, shape)
    result = curate(settings(folder, ignore_label=value))
    for row in result.rows:
        labels, valid = read_target(row)
        assert not valid[..., :12, :].any() and valid[..., 12:, :].all()
        assert not labels[..., :12, :].any() and value not in np.unique(labels)
        assert row["exclude_mask"] and row["ignore_label"] == str(value)
        region = tifffile.imread(row["exclude_mask"]) > 0
        assert (np.broadcast_to(region, shape) == ~valid).all()
    validate_dataset(read_dataset(folder / "ds"))
    # annotators fill in the region: the next round finds it labelled
    for path in (folder / "seg").iterdir():
        labels = tifffile.imread(path)
        tifffile.imwrite(path, np.where(labels == value, dtype(0), labels))
    for row in curate(settings(folder, ignore_label=value)).rows:
        assert read_target(row)[1].all()


def test_an_own_region_and_an_ignore_value_are_united(images: Callable, tiff: Callable) -> None:
    folder = images(255, np.uint8)
    for number in range(3):
        region = np.zeros((48, 56), np.uint8)
        region[:, :5] = 1
        tiff(folder / "ex" / f"i{number}.tif", region)
    for _ in range(2):  # the second round finds the same
        for row in curate(settings(folder, ignore_label=255, exclude=folder / "ex")).rows:
            valid = read_target(row)[1]
            assert not valid[:12].any() and not valid[:, :5].any() and valid[12:, 5:].all()


def test_the_ignore_value_of_a_table_without_curation(images: Callable) -> None:
    folder = images(-1)
    cells = {"seg1": str(folder / "seg" / "i0.tif"), "ignore_label": "-1"}
    labels, valid = read_target(Row({"raw": "i0.tif", **cells}))
    assert not valid[:12].any() and valid[12:].all() and labels.dtype.kind == "u"
    with pytest.raises(ManifestError, match="'x' is not a label"):
        read_target(Row({"raw": "i0.tif", **cells, "ignore_label": "x"}))


def test_negative_labels_propose_the_setting(images: Callable) -> None:
    with pytest.raises(ManifestError, match="ignore_label=-1"):
        curate(settings(images(-1)))
    with pytest.raises(ConfigError, match="ignore_label=x: expected a label"):
        settings(Path(), ignore_label="x")


def test_255_among_small_labels_is_flagged(images: Callable) -> None:
    result = curate(settings(images(255, np.uint8)))
    assert all("ignore_value" in row["flags"].split() for row in result.rows)
    assert "set ignore_label=" in "; ".join(result.ranking[0].flags)


def test_evaluate_does_not_count_ignored_voxels(images: Callable, tiff: Callable) -> None:
    folder = images(-1)
    for path in (folder / "seg").iterdir():
        labels = tifffile.imread(path)
        predicted = np.maximum(labels, 0).astype(np.uint16)
        predicted[:10, 20:40] = 77  # an object where nobody labelled
        tiff(folder / "pred" / path.name, predicted)
    for value in (-1, "-1", [-1, 999]):
        scored = evaluate(
            folder / "pred", folder / "seg", EvaluationSettings(ignore_label=value, resamples=0)
        )
        assert [row["dice"] for row in scored.rows] == [1, 1, 1]
    with pytest.raises(ManifestError, match="ignore_label=-1"):
        evaluate(folder / "pred", folder / "seg", EvaluationSettings(resamples=0))
    with pytest.raises(ConfigError, match="ignore_label=x"):
        EvaluationSettings(ignore_label="x")


def test_sparse_annotation_is_flagged(blobs: Callable) -> None:
    for shape in ((96, 96), (8, 96, 96)):
        raw, labels = blobs(shape, 12, 3)
        complete = annotation_metrics(raw[None], labels)
        assert complete["unlabelled"] == 0
        few = np.where(labels <= 2, labels, 0)
        assert annotation_metrics(raw[None], few)["unlabelled"] > 0.5
        dark = annotation_metrics(raw.max() - raw[None], few)  # objects darker than background
        assert dark["unlabelled"] > 0.5
        excluded = annotation_metrics(raw[None], few, exclude=labels > 2)
        assert excluded["unlabelled"] == 0


def test_an_inverted_mask_is_flagged(blobs: Callable) -> None:
    raw, labels = blobs((96, 96), 8, 1)
    mask = (labels > 0).astype(np.uint8)
    assert annotation_metrics(raw[None], 1 - mask)["inverted"] == 1
    assert annotation_metrics(raw[None], mask)["inverted"] == 0
    assert annotation_metrics(raw[None], labels)["inverted"] == 0


def test_the_shared_cases(real_data: Path, tmp_path: Path) -> None:
    case = real_data / "cases" / "11_unlabelled"
    given = {"raw": case / "images", "leakage": "allow"}
    minus = case / "ignore_minus_1"
    result = curate(CurationSettings(**given, seg1=minus, output=tmp_path / "a", ignore_label=-1))
    assert all(row["exclude_mask"] for row in result.rows)
    result = curate(CurationSettings(**given, seg1=case / "sparse", output=tmp_path / "b"))
    assert all("unlabelled" in row["flags"].split() for row in result.rows)
    quality = (tmp_path / "b" / "quality.csv").read_text()
    assert "label them, or exclude what nobody annotated" in quality
