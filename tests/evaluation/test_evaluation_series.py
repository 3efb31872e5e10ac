"""Movies, scenes, channels and colours in evaluation: a row each, or refused with the choices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from cytoloop.curation import CurationSettings, curate
from cytoloop.errors import ManifestError
from cytoloop.evaluation import EvaluationSettings, evaluate
from cytoloop.manifest import Row, expand_row, read_manifest, write_manifest

SETTINGS = EvaluationSettings(resamples=0, overlays=0)
IMAGES = (4, 24, 24)


def movie() -> np.ndarray:
    """Return labels (T, Y, X): a square that moves."""
    labels = np.zeros(IMAGES, np.uint8)
    for time in range(len(labels)):
        labels[time, 3 : 9 + time, 3:9] = 1
    return labels


def write(path: Path, data: np.ndarray, axes: str = "TYX", **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(
        path, data, ome=path.name.endswith(".ome.tif"), metadata={"axes": axes}, **options
    )
    return path


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Folders of a predicted movie that is empty after its first frame, and of its truth."""
    empty = movie()
    empty[1:] = 0
    write(tmp_path / "pred/m.ome.tif", empty)
    write(tmp_path / "truth/m.ome.tif", movie())
    return tmp_path / "pred", tmp_path / "truth"


def test_every_frame_of_a_movie_is_scored(pair: tuple[Path, Path]) -> None:
    rows = evaluate(*pair, SETTINGS).rows
    assert [row["id"] for row in rows] == [f"m_t00{n}" for n in range(4)]
    assert [row["dice"] for row in rows] == [1.0, 0.0, 0.0, 0.0]
    one = EvaluationSettings(resamples=0, overlays=0, time=2)
    assert [row["dice"] for row in evaluate(*pair, one).rows] == [0.0]


def test_the_interval_of_movies_draws_movies(
    pair: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    settings = EvaluationSettings(resamples=200, overlays=0)
    found = evaluate(*pair, settings).summary["intervals"]
    assert (found["resampled"], found["units"]) == ("image", 4)
    assert "all 4 images are of one file" in caplog.text
    for folder in pair:
        write(folder / "n.ome.tif", movie())
    summary = evaluate(*pair, settings).summary
    assert (summary["intervals"]["resampled"], summary["intervals"]["units"]) == ("file", 2)
    # one movie has a mean Dice of 0.25, the other of 1
    assert summary["intervals"]["mean"]["dice"] == [0.25, 1.0]


def test_scores_are_rows_that_can_be_scored_again(pair: tuple[Path, Path]) -> None:
    rows = evaluate(*pair, SETTINGS).rows
    table = pair[0].parent / "metrics.csv"
    write_manifest(table, rows)
    again = evaluate(table, table, SETTINGS).rows
    assert [(row["id"], row["dice"]) for row in again] == [(r["id"], r["dice"]) for r in rows]


def test_rows_of_curate_evaluate_and_predict_have_the_same_ids(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in "klm":
        noise = rng.integers(0, 255, IMAGES, np.uint8)
        write(tmp_path / f"raw/{name}.ome.tif", noise // 2 + movie() * 99)
        write(tmp_path / f"truth/{name}.ome.tif", movie())
        write(tmp_path / f"pred/{name}.ome.tif", movie() * (np.arange(4) == 1)[:, None, None])
    raw, truth, output = (str(tmp_path / name) for name in ("raw", "truth", "d"))
    curate(CurationSettings(raw=raw, seg1=truth, output=output, quality={}))
    manifest = read_manifest(tmp_path / "d" / "dataset.csv")
    ids = [row.id for row in manifest]
    assert ids == [f"{name}_t00{n}" for name in "klm" for n in range(4)]
    assert {row["group"] for row in manifest} == {"k", "l", "m"}
    found = [row.id for name in "klm" for row in expand_row(Row({"raw": f"{raw}/{name}.ome.tif"}))]
    assert found == ids
    scored = evaluate(tmp_path / "pred", tmp_path / "d" / "dataset.csv", SETTINGS).rows
    assert [row["id"] for row in scored] == ids
    assert [row["dice"] for row in scored] == [0.0, 1.0, 0.0, 0.0] * 3


def test_movie_without_stated_axes_is_one_with_axes(tmp_path: Path) -> None:
    for name in ("pred.tif", "truth.tif"):
        tifffile.imwrite(tmp_path / name, movie(), photometric="minisblack")
    settings = EvaluationSettings(resamples=0, overlays=0, axes="TYX")
    rows = evaluate(tmp_path / "pred.tif", tmp_path / "truth.tif", settings).rows
    assert [row["dice"] for row in rows] == [1.0] * 4
    whole = evaluate(tmp_path / "pred.tif", tmp_path / "truth.tif", SETTINGS).rows
    assert len(whole) == 1 and "read as a z-stack" in whole[0]["warnings"]


@pytest.mark.parametrize("kind", ["rgb", "channels", "scenes"])
@pytest.mark.parametrize("column", ["predictions", "truth", "annotator2", "exclude_mask"])
def test_what_there_is_several_of_is_a_row_each_or_refused(
    tmp_path: Path, kind: str, column: str
) -> None:
    labels = movie()[0]
    plain = write(tmp_path / "plain/a.ome.tif", labels, "YX")
    several = tmp_path / "several/a.ome.tif"
    several.parent.mkdir()
    if kind == "rgb":
        data = np.stack([labels, 0 * labels, labels], -1)
        tifffile.imwrite(several, data, photometric="rgb")
    elif kind == "channels":
        write(several, np.stack([labels, 0 * labels]), "CYX")
    else:
        with tifffile.TiffWriter(several, ome=True) as writer:
            writer.write(labels)
            writer.write(0 * labels)
    truth: Path = plain
    if column == "exclude_mask":
        truth = tmp_path / "truth.csv"
        cells = {"id": "a", "seg1": str(plain), "exclude_mask": str(several)}
        write_manifest(truth, [{"raw": str(plain), **cells}])
    sources = {"predictions": plain, "truth": truth, "annotator2": None}
    if column in sources:
        sources[column] = several
    if kind == "scenes" and column in ("predictions", "truth"):
        with pytest.raises(ManifestError, match=r"no prediction has a truth.*|a_Image:0"):
            evaluate(**sources, settings=SETTINGS)
        return
    with pytest.raises(ManifestError, match=r"expected one|no prediction has a truth"):
        evaluate(**sources, settings=SETTINGS)


def test_scenes_pair_by_name_else_by_number(tmp_path: Path) -> None:
    for name in ("pred", "truth"):
        path = tmp_path / name / "a.ome.tif"
        path.parent.mkdir()
        with tifffile.TiffWriter(path, ome=True) as writer:
            for scene in range(2):
                writer.write(movie()[scene])
    rows = evaluate(tmp_path / "pred", tmp_path / "truth", SETTINGS).rows
    assert [row["id"] for row in rows] == ["a_Image:0", "a_Image:1"]
    assert [row["dice"] for row in rows] == [1.0, 1.0]


@pytest.mark.realdata
def test_case_of_a_movie(real_data: Path) -> None:
    case = real_data / "cases" / "02_movie"
    rows = evaluate(case / "pred", case / "truth", SETTINGS).rows
    assert len(rows) == 6 and [row["dice"] for row in rows][1:] == [0.0] * 5
    case = real_data / "cases" / "03_white_is_zero"
    assert evaluate(case / "pred", case / "truth", SETTINGS).rows[0]["dice"] == 1.0


def test_truth_of_one_frame_needs_its_time_point(tmp_path: Path) -> None:
    write(tmp_path / "pred/m.ome.tif", movie())
    write(tmp_path / "truth/m.ome.tif", movie()[2], "YX")
    sources = (tmp_path / "pred", tmp_path / "truth")
    with pytest.raises(ManifestError, match=r"(?s)predictions: m_t000.*time=NUMBER from 0"):
        evaluate(*sources, SETTINGS)
    selected = EvaluationSettings(resamples=0, overlays=0, time=2, scene="P2")
    tifffile.imwrite(tmp_path / "pred/m.ome.tif", movie()[:1] * 0, ome=True)
    rows = evaluate(*sources, selected).rows
    assert [(row["id"], row["dice"]) for row in rows] == [("m", 0.0)]


def test_scene_of_a_row_does_not_hide_the_time_points_of_its_partner(tmp_path: Path) -> None:
    path = write(tmp_path / "seg.ome.tif", movie())
    rows = expand_row(Row({"id": "a", "seg1": str(path), "scene": "P2"}), "seg1")
    assert [row.id for row in rows] == [f"a_t00{n}" for n in range(4)]


def test_part_of_a_file_with_the_name_of_another_file_is_refused(pair: tuple[Path, Path]) -> None:
    write(pair[0] / "m_t001.ome.tif", movie()[0], "YX")
    with pytest.raises(ManifestError, match="two images are named 'm_t001'"):
        evaluate(*pair, SETTINGS)
