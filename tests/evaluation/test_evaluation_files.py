"""Predictions and truths from folders and tables, and the files that an evaluation writes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from cytoloop.__main__ import main
from cytoloop.errors import ImageError, ManifestError
from cytoloop.evaluation import evaluate, image_figure, terminal_tables
from cytoloop.evaluation.figures.overlays import write_overlays
from cytoloop.evaluation.inputs.images import read_prediction
from cytoloop.evaluation.output.tables import write_tables
from cytoloop.io.labels import read_labels
from cytoloop.manifest import Row, write_manifest


@pytest.fixture
def images(images_3d: Path, tiff: Callable) -> Path:
    """Truth in seg/, and predictions in found/: one perfect, one shifted, one empty."""
    for number, change in enumerate((lambda a: a, lambda a: np.roll(a, 3, 2), np.zeros_like)):
        labels = read_labels(images_3d / f"seg/img_{number}.tif")
        tiff(images_3d / f"found/img_{number}.tif", change(labels))
    return images_3d


def test_a_folder_is_scored_against_a_folder_by_name(images: Path) -> None:
    evaluation = evaluate(images / "found", f"{images}/seg/*.tif")
    assert [row["id"] for row in evaluation.rows] == ["img_0", "img_1", "img_2"]
    perfect, shifted, empty = evaluation.rows
    assert perfect["dice"] == perfect["mean_ap"] == 1 and perfect["n_truth"] == 5
    assert 0.3 < shifted["dice"] < 1 and empty["dice"] == 0 and empty["missed"] == 5
    unscored = evaluation.summary["unscored"]
    assert unscored["truths_without_prediction"] == ["img_3", "img_4"]
    assert evaluation.summary["mean"]["dice"] == pytest.approx((1 + shifted["dice"]) / 3)
    assert evaluation.summary["mean"]["precision"] is not None  # the empty one is left out


def test_tables_are_readable_by_the_next_verb_and_on_the_terminal(
    images: Path, tmp_path: Path
) -> None:
    evaluation = evaluate(images / "found", images / "seg")
    table, _, summary = write_tables(evaluation, tmp_path / "out")
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert rows[2]["precision"] == "" and float(rows[0]["dice"]) == 1
    assert Path(rows[0]["labels"]).is_file() and Path(rows[0]["seg1"]).is_file()
    assert json.loads(summary.read_text())["scored"] == 3
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(terminal_tables(evaluation))
    text = console.export_text()
    assert "img_2" in text and "pooled" in text and "2 truths without prediction" in text


def test_groups_and_excluded_regions_come_from_the_manifest(
    images: Path, tmp_path: Path, tiff: Callable
) -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[:, :] = 1
    mask[:20] = 0
    tiff(images / "ex.tif", mask)
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
    write_manifest(images / "truth.csv", rows)
    # nonsense in the excluded half of the perfect prediction
    labels = read_labels(images / "found/img_0.tif")
    labels[:, 24:, :] = 200
    tiff(images / "found/img_0.tif", labels)
    evaluation = evaluate(images / "found", images / "truth.csv")
    assert evaluation.rows[0]["dice"] == pytest.approx(1, abs=0.02)
    assert set(evaluation.summary["groups"]) == {"a", "b"}
    written = write_overlays(evaluation, tmp_path / "overlays", worst=2)
    assert [p.name for p in written] == ["01_img_2.png", "02_img_1.png"]
    assert all(p.stat().st_size > 10_000 for p in written)


def test_a_binary_truth_is_split_into_components_and_counted_in_the_summary(
    images: Path, tiff: Callable
) -> None:
    for number in range(3):
        path = images / f"seg/img_{number}.tif"
        tiff(path, (read_labels(path) > 0).astype(np.uint8))
    evaluation = evaluate(images / "found", images / "seg")
    assert evaluation.summary["truth_is_binary"] == 3
    assert evaluation.rows[0]["n_truth"] > 1


def test_a_mask_alone_is_split_into_components(images: Path, tiff: Callable) -> None:
    labels = read_labels(images / "seg/img_0.tif")
    tiff(images / "mask.tif", (labels > 0).astype(np.uint8))
    assert read_prediction(Row({"mask": "mask.tif"}, images))[0].max() > 1
    with pytest.raises(ImageError, match="has no labels and no mask"):
        read_prediction(Row({"id": "x"}, images))


def test_every_file_that_cannot_be_scored_is_named_at_once(images: Path, tiff: Callable) -> None:
    tiff(images / "found/img_0.tif", np.ones((12, 40, 39), np.uint8))
    (images / "found/img_1.tif").write_bytes(b"")
    with pytest.raises(ManifestError, match="2 problems") as caught:
        evaluate(images / "found", images / "seg")
    assert "shape (12, 40, 39) but the truth is (12, 40, 40)" in str(caught.value)
    assert "is empty (0 bytes)" in str(caught.value)


def test_an_error_without_any_pair_names_ids_of_both_sides(
    images: Path, tmp_path: Path, tiff: Callable
) -> None:
    tiff(tmp_path / "other/zebra.tif", np.ones((4, 4), np.uint8))
    with pytest.raises(ManifestError, match="no prediction has a truth") as caught:
        evaluate(tmp_path / "other", images / "seg")
    assert "zebra" in str(caught.value) and "img_0" in str(caught.value)


def test_two_files_with_the_same_name_are_refused(images: Path, tiff: Callable) -> None:
    tiff(images / "found/img_0.tiff", np.ones((12, 40, 40), np.uint8))
    with pytest.raises(ManifestError, match="two images are named 'img_0'"):
        evaluate(images / "found", images / "seg")


def test_failed_predictions_count_as_missing(images: Path) -> None:
    rows = [{"id": "img_0", "labels": "found/img_0.tif"}, {"id": "img_1", "status": "failed"}]
    write_manifest(images / "predictions.csv", rows)
    summary = evaluate(images / "predictions.csv", images / "seg").summary
    assert summary["scored"] == 1 and "img_1" in summary["unscored"]["truths_without_prediction"]


def test_an_image_figure_shows_two_and_three_dimensions() -> None:
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


def test_overwrite_removes_only_the_files_of_a_former_evaluation(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(images)
    words = ["evaluate", "predictions=found", "truth=seg", "output=eval", "resamples=0"]
    assert main([*words, "overlays=3"]) == 0
    own = ["notes.txt", "figures/own.png", "overlays/own.png"]
    for name in own:
        Path("eval", name).touch()
    assert main([*words, "overlays=1"]) == 0  # overwrite=false keeps former figures
    assert len(list(Path("eval/overlays").glob("0*.png"))) == 3
    assert main([*words, "overlays=1", "overwrite=true"]) == 0
    assert [path.name for path in Path("eval/overlays").glob("0*.png")] == ["01_img_2.png"]
    assert all(Path("eval", name).is_file() for name in own)
    assert main([*words, "predictions=nowhere", "overwrite=true"]) == 2  # a mistake removes nothing
    assert Path("eval/metrics.csv").is_file()
    assert main([*words, "overlays=0", "overwrite=yes"]) == 2
    assert main([*words, "classes=5", "overlays=0", "overwrite=true"]) == 0
    assert not Path("eval/objects.csv").exists() and not Path("eval/figures/scores.png").exists()


def test_of_a_large_picture_the_part_with_most_errors_is_drawn() -> None:
    from cytoloop.evaluation import image_figure
    from cytoloop.evaluation.figures.views import MAX_SIDE, choose_window

    wrong = np.zeros((100, 3 * MAX_SIDE), bool)
    wrong[10:20, 100:110] = wrong[50:90, 2 * MAX_SIDE + 50 : 2 * MAX_SIDE + 90] = True
    y, x = choose_window(wrong)
    assert (y, x.stop - x.start) == (slice(0, 100), MAX_SIDE)
    assert wrong[y, x].sum() == 1600
    assert choose_window(np.stack([wrong, wrong])) == (y, x)
    assert choose_window(wrong[:, :MAX_SIDE]) == (slice(0, 100), slice(0, MAX_SIDE))
    labels = wrong.astype(np.uint8)
    figure = image_figure(None, labels, None, np.zeros_like(labels), title="a.tif")
    shapes = {tuple(image.get_array().shape[:2]) for axis in figure.axes for image in axis.images}
    assert shapes == {(100, MAX_SIDE)}
    assert f"part with most errors: y 0 to 99, x {x.start} to" in figure.get_suptitle()
