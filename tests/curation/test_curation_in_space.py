"""One image cut in space into train, valid and test."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from cytoloop.curation import CurationSettings, curate
from cytoloop.curation.checks.dataset import validate_dataset
from cytoloop.curation.checks.parts import bounding_box
from cytoloop.curation.splits.in_space import parts_of_previous_rows
from cytoloop.errors import ConfigError, ImageError, ManifestError
from cytoloop.evaluation import EvaluationSettings, evaluate, write_evaluation
from cytoloop.manifest import Row, read_dataset, read_manifest
from cytoloop.truth.regions import region_from_rule
from cytoloop.truth.targets import read_target


@pytest.fixture
def one_image(tmp_path: Path, blobs: Callable, tiff: Callable) -> Callable[..., Path]:
    def make(shape: tuple[int, ...], count: int = 40) -> Path:
        raw, labels = blobs(shape, count, 1)
        tiff(tmp_path / "raw.tif", raw)
        tiff(tmp_path / "seg.tif", labels)
        return tmp_path

    return make


def settings(folder: Path, **changes: Any) -> CurationSettings:
    given = {"raw": folder / "raw.tif", "seg1": folder / "seg.tif", "output": folder / "ds"}
    return CurationSettings(**{**given, **changes})


def used_voxels(folder: Path) -> dict[str, np.ndarray]:
    return {row["split"]: read_target(row)[1] for row in read_manifest(folder / "dataset.csv")}


@pytest.mark.parametrize("shape", [(60, 240), (240, 60), (8, 60, 160), (160, 48, 48)])
def test_a_single_image_is_cut_with_gaps(
    shape: tuple[int, ...], one_image: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    folder = one_image(shape)
    with caplog.at_level(logging.WARNING):
        result = curate(settings(folder))
    assert "cut in space" in caplog.text and "continues this image" in caplog.text
    assert [row.id for row in result.rows] == ["raw_test", "raw_train", "raw_valid"]
    used = used_voxels(folder / "ds")
    total = np.sum(list(used.values()), axis=0)
    assert set(used) == {"train", "valid", "test"} and total.max() == 1
    axis = int(np.argmax(shape))
    boxes = {split: bounding_box(valid)[axis] for split, valid in used.items()}
    assert boxes["train"].stop + 2 <= boxes["valid"].start
    assert boxes["valid"].stop + 2 <= boxes["test"].start
    foreground = tifffile.imread(folder / "seg.tif") > 0
    fractions = {
        split: (foreground & valid).sum() / foreground.sum() for split, valid in used.items()
    }
    assert fractions["train"] > 0.4 and min(fractions.values()) > 0.05
    validate_dataset(read_dataset(folder / "ds"))  # as training does: no leak is found
    assert all("similarity" not in row["flags"] for row in result.rows)


def test_the_cut_stays_in_the_next_round(one_image: Callable) -> None:
    folder = one_image((60, 240))
    curate(settings(folder))
    before = used_voxels(folder / "ds")
    labels = tifffile.imread(folder / "seg.tif")
    labels[:, :80] = 0  # corrected labels would move the cuts
    tifffile.imwrite(folder / "seg.tif", labels)
    curate(settings(folder))
    after = used_voxels(folder / "ds")
    assert all((before[split] == after[split]).all() for split in before)
    record = json.loads((folder / "ds" / "dataset.json").read_text())
    assert record["settings"]["in_space"] == "auto"


def test_images_are_cut_on_request_only(images_2d: Path, tmp_path: Path) -> None:
    given = {"raw": images_2d / "raw", "seg1": images_2d / "seg", "seed": 1}
    whole = curate(CurationSettings(**given, output=tmp_path / "whole"))
    assert len(whole.rows) == 5
    cut = curate(CurationSettings(**given, output=tmp_path / "cut", in_space=True, test=0))
    assert len(cut.rows) == 10 and {row["split"] for row in cut.rows} == {"train", "valid"}


def test_a_single_image_is_refused_where_cutting_is_off_or_impossible(one_image: Callable) -> None:
    folder = one_image((60, 240))
    with pytest.raises(ManifestError, match="at least 2 are needed"):
        curate(settings(folder, in_space=False))
    with pytest.raises(ManifestError, match=r"cannot be cut into 3 parts(.|\n)*split\.gap"):
        curate(settings(folder, gap=200))
    with pytest.raises(ConfigError, match=r"split\.in_space=maybe: expected auto, true or false"):
        settings(folder, in_space="maybe")
    with pytest.raises(ConfigError, match=r"split\.gap=0: expected voxels"):
        settings(folder, gap=0)


def test_labels_of_another_shape_are_the_only_problem_of_a_single_image(
    one_image: Callable,
) -> None:
    folder = one_image((60, 240))
    tifffile.imwrite(folder / "seg.tif", tifffile.imread(folder / "seg.tif")[:30])
    with pytest.raises(ManifestError) as refused:
        curate(settings(folder))
    assert "but raw is (60, 240)" in str(refused.value)
    assert "same image" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"gap": 200}, "Give a larger image, more images, test=0 or a smaller split.gap."),
        ({"gap": 200, "test": 0}, "Give a larger image, more images or a smaller split.gap."),
        (
            {"gap": 1, "test": 0, "valid": 0.001},
            "Give a larger image, more images or a larger valid=.",
        ),
    ],
)
def test_a_cut_that_fails_advises_only_what_can_help(
    changes: dict[str, Any], advice: str, one_image: Callable
) -> None:
    folder = one_image((60, 240))
    with pytest.raises(ManifestError) as refused:
        curate(settings(folder, **changes))
    assert str(refused.value).endswith(advice)


@pytest.mark.parametrize(("draw", "warns"), [("nucleus", True), ("network", False)])
def test_one_object_in_all_parts_is_warned_of_unless_it_is_a_network(
    draw: str, warns: bool, one_image: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    folder = one_image((60, 240))
    y, x = np.ogrid[:60, :240]
    body = ((y - 30) / 25) ** 2 + ((x - 120) / 90) ** 2 < 1
    lines = (y % 20 < 2) | (x % 20 < 2)
    tifffile.imwrite(folder / "seg.tif", (body if draw == "nucleus" else lines).astype(np.uint8))
    with caplog.at_level(logging.WARNING):
        curate(settings(folder, test=0))
    assert ("has 1 object(s) for 2 parts: they show pieces" in caplog.text) == warns
    assert "cut in space into train, valid, with gaps" in caplog.text


@pytest.mark.parametrize(
    ("second", "leaks"), [((0, 130), True), ((100, 240), True), ((102, 240), False)]
)
def test_own_parts_of_one_image_are_a_leak_only_without_a_gap(
    second: tuple[int, int], leaks: bool, one_image: Callable
) -> None:
    folder = one_image((60, 240))
    start, stop = second
    table = folder / "t.csv"
    lines = ["id,raw,seg1,split,exclude", 'a,raw.tif,seg.tif,train,"outside_box(:, 0:100)"']
    lines.append(f'b,raw.tif,seg.tif,valid,"outside_box(:, {start}:{stop})"')
    table.write_text("\n".join(lines))
    if leaks:
        with pytest.raises(ManifestError, match="same image as a"):
            curate(CurationSettings(raw=table, output=folder / "ds", test=0))
    else:
        curate(CurationSettings(raw=table, output=folder / "ds", test=0))
        validate_dataset(read_dataset(folder / "ds"))


def test_the_rule_of_a_box() -> None:
    raw, labels = np.zeros((1, 3, 8, 8)), np.zeros((3, 8, 8), np.uint8)
    outside = region_from_rule("outside_box(2:6, :)", raw, labels, None)
    assert outside.sum() == 3 * 8 * 4 and not outside[:, 2:6].any()
    outside = region_from_rule("outside_box(1:, :, 0:3)", raw, labels, None)
    assert outside.shape == labels.shape and (~outside).sum() == 2 * 8 * 3
    with pytest.raises(ImageError, match="has 3 ranges, but the image is 2D"):
        region_from_rule("outside_box(:, :, 0:3)", raw[:, 0], labels[0], None)
    with pytest.raises(ConfigError, match="invalid arguments"):
        region_from_rule("outside_box(2)", raw, labels, None)


def test_the_stack_of_a_shared_case(real_data: Path, tmp_path: Path) -> None:
    case = real_data / "cases" / "12_one_stack"
    result = curate(
        CurationSettings(raw=case / "raw.tif", seg1=case / "seg.tif", output=tmp_path / "ds")
    )
    assert result.counts["train"] == result.counts["valid"] == result.counts["test"] == 1
    assert not list((tmp_path / "ds").rglob("raw*.tif*")) or all(
        "exclude" in path.name for path in (tmp_path / "ds").rglob("*.tif")
    )
    validate_dataset(read_dataset(tmp_path / "ds"))


def test_reports_say_what_scores_of_parts_are_worth(
    one_image: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    folder = one_image((60, 240))
    curate(settings(folder, report=True))
    assert "parts of one image" in (folder / "ds" / "report.html").read_text()
    predicted = folder / "p.csv"
    predicted.write_text("id,labels\nraw_test,seg.tif\n")
    with caplog.at_level(logging.WARNING):
        found = evaluate(predicted, folder / "ds" / "test.csv", EvaluationSettings(resamples=0))
    assert found.summary["parts_of_images"] == ["raw_test"] and found.rows[0]["dice"] == 1
    assert "not how well it does on other images" in caplog.text
    write_evaluation(found, folder / "e", 0)
    assert "continues this image" in (folder / "e" / "report.html").read_text()


def test_all_time_points_are_cut_at_the_same_places(tmp_path: Path, blobs: Callable) -> None:
    frames = [blobs((60, 240), 40, seed) for seed in range(3)]
    for name, index in (("raw", 0), ("seg", 1)):
        movie = np.stack([frame[index] for frame in frames])
        tifffile.imwrite(tmp_path / f"{name}.tif", movie, imagej=True, metadata={"axes": "TYX"})
    with pytest.raises(ManifestError, match=r"1 group(.|\n)*split\.in_space=true"):
        curate(settings(tmp_path, time="all", leakage="allow"))
    result = curate(settings(tmp_path, time="all", leakage="allow", in_space=True))
    by_split: dict[str, list[np.ndarray]] = {}
    for row in result.rows:
        by_split.setdefault(row["split"], []).append(read_target(row)[1])
    assert {split: len(masks) for split, masks in by_split.items()} == dict.fromkeys(by_split, 3)
    assert all((masks[0] == mask).all() for masks in by_split.values() for mask in masks)
    assert {row["group"] for row in result.rows} == {"raw_train", "raw_valid", "raw_test"}


def test_the_rows_of_an_earlier_round_are_looked_up_by_id() -> None:
    """A search through all rows for each row took minutes for 2 000 unchanged rows."""
    previous = {
        f"raw_{split}": Row({"id": f"raw_{split}", "exclude": f"outside_box({box}, :)"})
        for split, box in (("train", ":70"), ("test", "80:"))
    }
    parts = parts_of_previous_rows(Row({"raw": "raw.tif"}), previous)
    assert [(part.split, part.rule) for part in parts] == [
        ("train", "outside_box(:70, :)"),
        ("test", "outside_box(80:, :)"),
    ]
    assert not parts_of_previous_rows(Row({"id": "other"}), previous)
