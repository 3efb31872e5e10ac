from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from cytoloop.errors import ImageError, ManifestError
from cytoloop.evaluation import evaluate, image_figure, summary_table, write_overlays, write_tables
from cytoloop.evaluation.inputs.images import read_prediction
from cytoloop.io.labels import read_labels
from cytoloop.manifest import Row, write_manifest


@pytest.fixture
def pictures(images_3d: Path, tiff: Callable) -> Path:
    """Truth in seg/, and predictions in found/: one perfect, one shifted, one empty."""
    for number, change in enumerate((lambda a: a, lambda a: np.roll(a, 3, 2), np.zeros_like)):
        labels = read_labels(images_3d / f"seg/img_{number}.tif")
        tiff(images_3d / f"found/img_{number}.tif", change(labels))
    return images_3d


def test_a_folder_is_scored_against_a_folder_by_name(pictures: Path) -> None:
    evaluation = evaluate(pictures / "found", f"{pictures}/seg/*.tif")
    assert [row["id"] for row in evaluation.rows] == ["img_0", "img_1", "img_2"]
    perfect, shifted, empty = evaluation.rows
    assert perfect["dice"] == perfect["mean_ap"] == 1 and perfect["n_truth"] == 5
    assert 0.3 < shifted["dice"] < 1 and empty["dice"] == 0 and empty["missed"] == 5
    unscored = evaluation.summary["unscored"]
    assert unscored["truths_without_prediction"] == ["img_3", "img_4"]
    assert evaluation.summary["mean"]["dice"] == pytest.approx((1 + shifted["dice"]) / 3)
    assert evaluation.summary["mean"]["precision"] is not None  # the empty one is left out


def test_tables_can_be_read_by_the_next_verb_and_by_people(pictures: Path, tmp_path: Path) -> None:
    evaluation = evaluate(pictures / "found", pictures / "seg")
    table, _, summary = write_tables(evaluation, tmp_path / "out")
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert rows[2]["precision"] == "" and float(rows[0]["dice"]) == 1
    assert Path(rows[0]["labels"]).is_file() and Path(rows[0]["seg1"]).is_file()
    assert json.loads(summary.read_text())["scored"] == 3
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(summary_table(evaluation))
    text = console.export_text()
    assert "img_2" in text and "pooled" in text and "2 truths without prediction" in text


def test_groups_and_excluded_regions_come_from_the_manifest(
    pictures: Path, tmp_path: Path, tiff: Callable
) -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[:, :] = 1
    mask[:20] = 0
    tiff(pictures / "ex.tif", mask)
    rows = [
        {
            "id": f"img_{n}",
            "raw": f"raw/img_{n}.tif",
            "seg1": f"seg/img_{n}.tif",
            "group": "ab"[n % 2],
        }
        for n in range(3)
    ]
    rows[0]["exclude_mask"] = "ex.tif"
    write_manifest(pictures / "truth.csv", rows)
    # nonsense in the excluded half of the perfect prediction
    labels = read_labels(pictures / "found/img_0.tif")
    labels[:, 24:, :] = 200
    tiff(pictures / "found/img_0.tif", labels)
    evaluation = evaluate(pictures / "found", pictures / "truth.csv")
    assert evaluation.rows[0]["dice"] == pytest.approx(1, abs=0.02)
    assert set(evaluation.summary["groups"]) == {"a", "b"}
    written = write_overlays(evaluation, tmp_path / "overlays", worst=2)
    assert [p.name for p in written] == ["01_img_2.png", "02_img_1.png"]
    assert all(p.stat().st_size > 10_000 for p in written)


def test_a_binary_truth_is_split_into_its_pieces_and_that_is_said(
    pictures: Path, tiff: Callable
) -> None:
    for number in range(3):
        path = pictures / f"seg/img_{number}.tif"
        tiff(path, (read_labels(path) > 0).astype(np.uint8))
    evaluation = evaluate(pictures / "found", pictures / "seg")
    assert evaluation.summary["truth_is_binary"] == 3
    assert evaluation.rows[0]["n_truth"] > 1


def test_a_mask_alone_is_scored_by_its_pieces(pictures: Path, tiff: Callable) -> None:
    labels = read_labels(pictures / "seg/img_0.tif")
    tiff(pictures / "mask.tif", (labels > 0).astype(np.uint8))
    assert read_prediction(Row({"mask": "mask.tif"}, pictures)).max() > 1
    with pytest.raises(ImageError, match="has neither labels nor mask"):
        read_prediction(Row({"id": "x"}, pictures))


def test_every_file_that_cannot_be_scored_is_named_at_once(pictures: Path, tiff: Callable) -> None:
    tiff(pictures / "found/img_0.tif", np.ones((12, 40, 39), np.uint8))
    (pictures / "found/img_1.tif").write_bytes(b"")
    with pytest.raises(ManifestError, match="2 problems") as caught:
        evaluate(pictures / "found", pictures / "seg")
    assert "shape (12, 40, 39) but the truth is (12, 40, 40)" in str(caught.value)
    assert "is empty (0 bytes)" in str(caught.value)


def test_nothing_to_compare_names_both_sides(
    pictures: Path, tmp_path: Path, tiff: Callable
) -> None:
    tiff(tmp_path / "other/zebra.tif", np.ones((4, 4), np.uint8))
    with pytest.raises(ManifestError, match="no prediction has a truth") as caught:
        evaluate(tmp_path / "other", pictures / "seg")
    assert "zebra" in str(caught.value) and "img_0" in str(caught.value)


def test_two_files_of_one_name_are_refused(pictures: Path, tiff: Callable) -> None:
    tiff(pictures / "found/img_0.tiff", np.ones((12, 40, 40), np.uint8))
    with pytest.raises(ManifestError, match="two images are named 'img_0'"):
        evaluate(pictures / "found", pictures / "seg")


def test_failed_predictions_count_as_missing(pictures: Path) -> None:
    rows = [{"id": "img_0", "labels": "found/img_0.tif"}, {"id": "img_1", "status": "failed"}]
    write_manifest(pictures / "predictions.csv", rows)
    summary = evaluate(pictures / "predictions.csv", pictures / "seg").summary
    assert summary["scored"] == 1 and "img_1" in summary["unscored"]["truths_without_prediction"]


def test_a_panel_shows_two_and_three_dimensions() -> None:
    truth = np.zeros((6, 20, 24), np.uint8)
    truth[2:4, 4:12, 4:12] = 1
    stack = image_figure(truth * 10.0, truth, truth * 1.0, truth, truth == 0, "t")
    assert [axis.get_title() for axis in stack.axes[:5]] == [
        "raw",
        "truth",
        "probability",
        "labels",
        "errors",
    ]
    assert len(stack.axes) == 15
    assert len(image_figure(truth[2], truth[2], None, truth[2]).axes) == 4
