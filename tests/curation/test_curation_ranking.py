"""Ranking and report: the worst images come first, with the reasons."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cytoloop.curation import CurationSettings, curate
from cytoloop.curation.checks.predictions import disagreement, uncertainty
from cytoloop.curation.output.report import MAX_PICTURES
from cytoloop.errors import ManifestError
from cytoloop.manifest import write_manifest

Blobs = Callable[..., tuple[np.ndarray, np.ndarray]]
Tiff = Callable[[Path, np.ndarray], Path]


def settings_of(images: Path, **changes: object) -> CurationSettings:
    given = {"raw": images / "raw", "seg1": images / "seg", "output": images.parent / "dataset"}
    return CurationSettings(**{**given, **changes})  # type: ignore[arg-type]


def predictions_of(images: Path, wrong: dict[int, np.ndarray]) -> Path:
    """Write predictions equal to the labels, except for the wrong ones given."""
    lines = []
    for number in range(5):
        truth = tifffile.imread(images / "seg" / f"img_{number}.tif")
        labels = wrong.get(number, truth).astype(np.uint16)
        probability = np.where(labels > 0, 250, 3).astype(np.uint8)
        tifffile.imwrite(images / f"{number}_labels.tif", labels)
        tifffile.imwrite(images / f"{number}_probability.tif", probability)
        names = {name: f"{number}_{name}.tif" for name in ("labels", "probability")}
        lines.append({"id": f"img_{number}", "raw": f"raw/img_{number}.tif", **names})
    write_manifest(images / "predictions.csv", lines, ("id", "raw"))
    return images / "predictions.csv"


def quality_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "quality.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_ranking_by_checks(images_3d: Path, tiff: Tiff, tmp_path: Path) -> None:
    labels = tifffile.imread(images_3d / "seg" / "img_3.tif")
    tiff(images_3d / "seg" / "img_3.tif", np.roll(labels, (4, 5), (1, 2)))
    result = curate(settings_of(images_3d))
    first = quality_of(tmp_path / "dataset")[0]
    assert (first["rank"], first["id"]) == ("1", "img_3") and "misalignment" in first["flags"]
    assert float(first["shift_y"]) == -4 and float(first["shift_x"]) == -5
    assert result.ranking[0].flags[-1].startswith("misalignment")


def test_ranking_by_predictions(images_3d: Path, tmp_path: Path) -> None:
    merged = np.where(tifffile.imread(images_3d / "seg" / "img_2.tif") > 0, 1, 0)
    nothing = np.zeros((12, 40, 40))
    table = predictions_of(images_3d, {2: merged, 4: nothing})
    curate(settings_of(images_3d, predictions=table, report=True))
    rows = {line["id"]: line for line in quality_of(tmp_path / "dataset")}
    assert rows["img_4"]["disagreement"] == "1" and rows["img_4"]["rank"] == "1"
    assert float(rows["img_0"]["disagreement"]) == 0
    assert 0 < float(rows["img_0"]["uncertainty"]) < 0.5
    assert "disagreement" in rows["img_4"]["flags"]
    assert "predicted" in (tmp_path / "dataset" / "report.html").read_text()


def test_ranking_refuses_predictions_that_do_not_fit(images_3d: Path, tmp_path: Path) -> None:
    table = predictions_of(images_3d, {1: np.zeros((12, 40, 41))})
    with pytest.raises(ManifestError, match=r"img_1: predicted shape \(12, 40, 41\)"):
        curate(settings_of(images_3d, predictions=table))
    write_manifest(table, [{"id": "strange", "labels": "x.tif"}], ("id",))
    with pytest.raises(ManifestError, match="predicts none of these images"):
        curate(settings_of(images_3d, predictions=table))
    write_manifest(table, [{"id": "img_1"}], ("id",))
    with pytest.raises(ManifestError, match="names no probability map"):
        curate(settings_of(images_3d, predictions=table))
    assert not (tmp_path / "dataset").exists()


def test_a_predicted_mask_is_compared_by_its_pieces(images_3d: Path) -> None:
    mask = tifffile.imread(images_3d / "seg" / "img_2.tif") > 0
    found = []
    for value in (1, 255):
        table = predictions_of(images_3d, {2: np.where(mask, value, 0)})
        folder = images_3d / f"dataset_{value}"
        curate(settings_of(images_3d, predictions=table, output=folder))
        found += [line["disagreement"] for line in quality_of(folder) if line["id"] == "img_2"]
    assert found[0] == found[1] and 0 < float(found[0]) < 1


def test_disagreement_and_uncertainty_have_known_values() -> None:
    one = np.zeros((4, 8), int)
    one[:, :4], one[:, 6:] = 5, 9
    assert disagreement(one, one * 3) == 0
    assert disagreement(one, np.zeros_like(one)) == 1
    half = np.where(one == 5, 1, 0)
    half[:, 2:4] = 0
    # best overlaps: 0.5 and 0 for the two true objects, 0.5 for the predicted one
    assert disagreement(one, half) == pytest.approx(1 - (0.5 + 0 + 0.5) / 3)
    assert disagreement(half, one) == disagreement(one, half)
    assert disagreement(np.zeros((2, 2), int), np.zeros((2, 2), int)) == 0
    sure = np.where(one > 0, 1.0, 0.0)
    assert uncertainty(sure, one > 0) == 0
    assert uncertainty(np.full(one.shape, 0.5), one > 0) == 1.0
    assert uncertainty(np.zeros((3, 3)), np.zeros((3, 3), bool)) == 0


def test_report_is_one_page_with_pictures_and_safe_text(images_2d: Path, tmp_path: Path) -> None:
    shutil.move(images_2d / "raw" / "img_0.tif", images_2d / "raw" / "<b>&.tif")
    shutil.move(images_2d / "seg" / "img_0.tif", images_2d / "seg" / "<b>&.tif")
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "decisions.csv").write_text(
        "id,decision,reason,curator\nimg_4,reject,<script>alert(1)</script>,Ann\n"
    )
    (images_2d / "seg" / "img_4.tif").write_bytes(b"")  # rejected rows may be unreadable
    curate(settings_of(images_2d, report=True))
    page = (tmp_path / "dataset" / "report.html").read_text()
    assert page.count("data:image/webp;base64,") == 4
    assert "<b>&" not in page and "<script>alert" not in page and "&lt;script&gt;alert" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)  # nothing is loaded from elsewhere
    assert "cannot be drawn" in page and "1 rejected" in page
    again = tmp_path / "again.html"
    shutil.copy(tmp_path / "dataset" / "report.html", again)
    curate(settings_of(images_2d, report=True))
    assert (tmp_path / "dataset" / "report.html").read_bytes() == again.read_bytes()


def test_report_lists_a_rejected_row_whose_shapes_differ(
    images_2d: Path, tiff: Tiff, tmp_path: Path
) -> None:
    tiff(images_2d / "seg" / "img_1.tif", np.ones((40, 56), np.uint16))
    curate(settings_of(images_2d, on_problem="reject", report=True))
    page = (tmp_path / "dataset" / "report.html").read_text()
    assert "cannot be drawn: shape (40, 56) of the labels but raw is (48, 56)" in page
    assert page.count("data:image/webp") == 4


def test_report_limits_the_number_of_pictures(
    images_2d: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_PICTURES > 100
    monkeypatch.setattr("cytoloop.curation.output.report.MAX_PICTURES", 2)
    curate(settings_of(images_2d, report=True))
    page = (tmp_path / "dataset" / "report.html").read_text()
    assert (
        page.count("data:image/webp") == 2
        and page.count("only the first 2 images have a picture") == 3
    )
