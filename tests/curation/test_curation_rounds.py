"""Rounds: the next data set keeps decisions and splits, adds images, and records its parent."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cytoloop.curation import CurationSettings, curate
from cytoloop.curation.decisions.log import append_decision
from cytoloop.errors import ConfigError, ManifestError
from cytoloop.io.digest import file_hash
from cytoloop.io.labels import read_labels
from cytoloop.manifest import Row, read_manifest
from cytoloop.truth.targets import read_target

Blobs = Callable[..., tuple[np.ndarray, np.ndarray]]
Tiff = Callable[[Path, np.ndarray], Path]


def settings_of(images: Path, **changes: object) -> CurationSettings:
    given = {"raw": images / "raw", "seg1": images / "seg", "output": images.parent / "dataset"}
    return CurationSettings(**{**given, **changes})  # type: ignore[arg-type]


def rows_of(folder: Path) -> dict[str, Row]:
    return {row.id: row for row in read_manifest(folder / "dataset.csv")}


def record_of(folder: Path) -> dict:
    return json.loads((folder / "dataset.json").read_text())


@pytest.fixture
def more(tmp_path: Path, blobs: Blobs, tiff: Tiff) -> Path:
    """Another folder of four images, for the next round."""
    for number in range(10, 14):
        raw, labels = blobs((48, 56), 5, seed=number)
        tiff(tmp_path / "more" / "raw" / f"img_{number}.tif", raw)
        tiff(tmp_path / "more" / "seg" / f"img_{number}.tif", labels)
    return tmp_path / "more"


def test_rounds_add_images_keep_splits_and_name_the_parent(
    images_2d: Path, more: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "dataset"
    curate(settings_of(images_2d))
    first, digest = rows_of(folder), file_hash(folder / "dataset.csv")
    assert record_of(folder)["parent"] is None
    append_decision(
        folder / "decisions.csv", {"id": "img_2", "decision": "reject", "reason": "dirt"}
    )
    curate(settings_of(more))
    second = rows_of(folder)
    assert len(second) == 9
    assert {n: second[n]["split"] for n in first} == {n: r["split"] for n, r in first.items()}
    assert (second["img_2"]["status"], second["img_2"]["reason"]) == ("reject", "dirt")
    assert record_of(folder)["parent"] == {"dataset_csv": digest, "images": 5, "round": 0}


def test_rounds_repeated_write_the_same_bytes(images_2d: Path, more: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    curate(settings_of(images_2d))
    curate(settings_of(more))
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    curate(settings_of(more))
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    curate(settings_of(more, seed=7))  # other settings are a new round, even if no split changes
    assert record_of(folder)["parent"]["round"] == 1


def test_rounds_in_another_folder_copy_the_log(images_2d: Path, more: Path, tmp_path: Path) -> None:
    curate(settings_of(images_2d))
    mask = tmp_path / "masks" / "m.npy"
    mask.parent.mkdir()
    np.save(mask, np.array([[[0, 0], [0, 9], [9, 9], [9, 0]]], float))
    log = tmp_path / "dataset" / "decisions.csv"
    append_decision(log, {"id": "img_1", "exclude": "../masks/m.npy"})
    append_decision(log, {"id": "img_4", "decision": "reject"})
    output = tmp_path / "deep" / "next"
    curate(settings_of(more, parent=tmp_path / "dataset", output=output))
    rows = rows_of(output)
    assert rows["img_1"].file("exclude_mask") == mask
    assert rows["img_4"]["status"] == "reject"
    before = {p.name: p.read_bytes() for p in output.iterdir()}
    curate(settings_of(more, parent=tmp_path / "dataset", output=output))
    assert {p.name: p.read_bytes() for p in output.iterdir()} == before
    # a third round needs the second only
    curate(CurationSettings(parent=output, output=tmp_path / "third"))
    assert rows_of(tmp_path / "third")["img_4"]["status"] == "reject"
    with pytest.raises(ManifestError, match="holds no dataset.csv"):
        curate(settings_of(more, parent=tmp_path / "nowhere", output=tmp_path / "x"))


def test_rounds_need_no_sources(images_2d: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    with pytest.raises(ConfigError, match="raw is missing"):
        CurationSettings(output=folder)
    curate(settings_of(images_2d, valid=["img_1"], test=["img_2"]))
    append_decision(folder / "decisions.csv", {"id": "img_0", "decision": "reject"})
    curate(CurationSettings(output=folder))
    assert rows_of(folder)["img_0"]["status"] == "reject"
    append_decision(folder / "decisions.csv", {"id": "img_0", "decision": "undecided"})
    curate(CurationSettings(output=folder))
    assert rows_of(folder)["img_0"]["status"] == "keep"
    with pytest.raises(ConfigError, match="seg1=x: needs raw images"):
        CurationSettings(output=folder, seg1="x")


def test_rounds_repeat_automatic_decisions(images_2d: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    strict = {"focus": {"min": 99, "action": "reject"}}
    append_decision(folder / "decisions.csv", {"id": "img_3", "decision": "keep", "curator": "Ann"})
    append_decision(folder / "decisions.csv", {"id": "img_2", "decision": "keep", "curator": "Ann"})
    curate(settings_of(images_2d, quality=strict, test=0))
    rows = rows_of(folder)
    assert [n for n, r in rows.items() if r["status"] == "keep"] == ["img_2", "img_3"]
    assert "is below 99 (blurred)" in rows["img_0"]["reason"]
    assert rows["img_0"]["curator"] == "cytoloop" and rows["img_3"]["curator"] == "Ann"
    assert "focus" in rows["img_3"]["flags"].split()  # a curator's keep overrides a limit
    curate(CurationSettings(output=folder))
    assert {r["status"] for r in rows_of(folder).values()} == {"keep"}


def test_rounds_undecided_may_be_rejected(images_2d: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    for name in ("img_1", "img_2", "img_3"):
        append_decision(folder / "decisions.csv", {"id": name, "decision": "keep"})
    result = curate(settings_of(images_2d, undecided="reject"))
    assert result.counts == {
        "images": 5,
        "keep": 3,
        "reject": 2,
        "unmatched": 0,
        "train": 1,
        "valid": 1,
        "test": 1,
    }
    assert rows_of(folder)["img_0"]["reason"] == "undecided"


def test_rounds_refuse_an_id_of_a_different_image(
    images_2d: Path, more: Path, tmp_path: Path
) -> None:
    curate(settings_of(images_2d))
    (more / "raw" / "img_10.tif").rename(more / "raw" / "img_1.tif")
    (more / "seg" / "img_10.tif").rename(more / "seg" / "img_1.tif")
    with pytest.raises(ManifestError, match="id 'img_1' was .*, a different image"):
        curate(settings_of(more))
    # the same image in another folder is accepted
    shutil.move(images_2d, tmp_path / "elsewhere")
    curate(settings_of(tmp_path / "elsewhere", output=tmp_path / "dataset"))
    assert rows_of(tmp_path / "dataset")["img_1"]["raw"] == "../elsewhere/raw/img_1.tif"


def test_rounds_can_undo_regions_completely(images_2d: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    (images_2d / "masks").mkdir()
    for name, at in (("img_2", 0), ("other", 20)):
        box = np.array([[[at, 0], [at, 9], [at + 9, 9], [at + 9, 0]]], float)
        np.save(images_2d / "masks" / f"{name}.npy", box)
    source = settings_of(images_2d, exclude=images_2d / "masks" / "img_2.npy")
    curate(source)
    plain = (folder / "dataset.csv").read_bytes()
    add = {"id": "img_2", "exclude": "../images/masks/other.npy"}
    append_decision(folder / "decisions.csv", add)
    curate(source)
    row = rows_of(folder)["img_2"]
    assert row["exclude"] == "../images/masks/img_2.npy"
    assert row["exclude_mask"].startswith("regions/img_2_exclude_")
    curate(
        CurationSettings(output=folder)
    )  # the regions of the sources are recorded, not only the mask
    assert rows_of(folder)["img_2"].values == row.values
    append_decision(folder / "decisions.csv", {"id": "img_2", "exclude": "none"})
    curate(CurationSettings(output=folder))
    none = rows_of(folder)["img_2"]
    assert (none["exclude_mask"], none["exclude"]) == ("", "../images/masks/img_2.npy")
    (folder / "decisions.csv").write_text("id,decision\n")
    curate(source)
    assert (folder / "dataset.csv").read_bytes() == plain


def test_rounds_that_are_refused_leave_no_masks(images_2d: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    box = np.array([[[0, 0], [0, 9], [9, 9], [9, 0]]], float)
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", box + ord(name) - 97)
    log = tmp_path / "decisions.csv"
    append_decision(log, {"id": "img_2", "exclude": "a.npy; b.npy"})
    (images_2d / "seg" / "img_0.tif").write_bytes(b"")
    with pytest.raises(ManifestError, match="Nothing was written"):
        curate(settings_of(images_2d, decisions=log))
    assert not folder.exists()


def test_rounds_settings_replace_settings_of_the_previous_round_but_no_cells_of_a_table(
    images_2d: Path, tmp_path: Path
) -> None:
    table = images_2d / "table.csv"
    lines = [f"raw/img_{i}.tif,seg/img_{i}.tif,{'clip' if i == 1 else ''}" for i in range(5)]
    table.write_text("\n".join(["raw,seg1,merge_rule", *lines]) + "\n")
    folder = tmp_path / "dataset"
    curate(settings_of(images_2d, raw=table, seg1=None, spacing_um=[0.5, 0.5]))
    curate(CurationSettings(output=folder, merge_rule="majority"))
    rows = rows_of(folder)
    assert (rows["img_0"]["merge_rule"], rows["img_1"]["merge_rule"]) == ("majority", "clip")
    assert rows["img_0"]["spacing_um"] == "0.5 0.5"  # no new setting: it stays
    curate(CurationSettings(output=folder, spacing_um=[0.4, 0.4]))
    assert {row["spacing_um"] for row in rows_of(folder).values()} == {"0.5 0.5"}
    assert rows_of(folder)["img_0"]["merge_rule"] == "majority"


def test_rounds_warn_of_settings_that_were_left_out(
    images_2d: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    curate(settings_of(images_2d, exclude_rules="outside_labels(2)", test=["img_1"]))
    assert "settings that differ" not in caplog.text
    curate(settings_of(images_2d, test=["img_1"]))
    assert 'exclude_rules was ["outside_labels(2)"] and is []' in caplog.text
    assert "test was" not in caplog.text


def test_rounds_a_first_round_that_was_killed_before_its_record_is_written_again(
    images_2d: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "dataset"
    curate(settings_of(images_2d))
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "dataset.json").unlink()  # it is written last
    curate(settings_of(images_2d))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole


def test_corrected_labels_become_the_segmentation_and_can_be_taken_back(
    images_2d: Path, tmp_path: Path, tiff: Tiff
) -> None:
    folder = tmp_path / "dataset"
    second = tmp_path / "second"
    for path in (images_2d / "seg").glob("*.tif"):
        tiff(second / path.name, read_labels(path))
    given = settings_of(images_2d, seg2=second, base_image="seg2")
    curate(given)
    before = (folder / "dataset.csv").read_bytes()
    corrected = read_labels(second / "img_1.tif")
    corrected[corrected == 2] = 0
    tiff(folder / "corrected" / "img_1.tif", corrected)
    log = folder / "decisions.csv"
    append_decision(log, {"id": "img_1", "labels": "corrected/img_1.tif"})
    for settings in (given, CurationSettings(output=folder)):  # a later round keeps them
        curate(settings)
        row = rows_of(folder)["img_1"]
        assert np.array_equal(read_target(row)[0], corrected)
        assert (row["seg1"], row["base_image"], row["seg2"]) == ("corrected/img_1.tif", "seg1", "")
        assert rows_of(folder)["img_2"]["seg2"]
    append_decision(log, {"id": "img_1", "labels": "none"})
    curate(CurationSettings(output=folder))
    assert (folder / "dataset.csv").read_bytes() == before
