"""Curation from end to end: the files it writes, what it refuses, and that it is reproducible."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cytoloop.curation import CurationSettings, curate
from cytoloop.curation.output.result import count_rows
from cytoloop.errors import ConfigError, ManifestError, OutputError
from cytoloop.io.digest import file_hash
from cytoloop.manifest import COLUMNS, Row, read_dataset, read_manifest, write_manifest

FILES = ["dataset.csv", "dataset.json", "quality.csv", "test.csv", "train.csv", "valid.csv"]


def settings_of(images: Path, **changes: object) -> CurationSettings:
    given = {"raw": images / "raw", "seg1": images / "seg", "output": images.parent / "dataset"}
    return CurationSettings(**{**given, **changes})  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("images", ["images_2d", "images_3d"])
def test_curation_writes_a_data_set_that_can_be_read(
    images: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder = request.getfixturevalue(images)
    result = curate(settings_of(folder), progress=True)
    output = tmp_path / "dataset"
    assert sorted(path.name for path in output.iterdir()) == FILES
    assert [path.name for path in result.files][-1] == "dataset.json"
    assert result.counts["images"] == result.counts["keep"] == 5
    dataset = read_dataset(output)
    seen = [row for manifest in dataset.values() for row in manifest]
    assert sorted(row.id for row in seen) == [f"img_{i}" for i in range(5)]
    for row in seen:
        assert row.file("raw") == folder / "raw" / f"{row.id}.tif"
        assert row["raw"] == f"../images/raw/{row.id}.tif"
        assert row["base_image"] == "seg1" and row["group"] == row.id
        assert row["sha256"] == file_hash(folder / "raw" / f"{row.id}.tif")
        assert row.spacing_um == ((0.6 if images == "images_3d" else 1.0), 0.3, 0.3)
    for split, manifest in dataset.items():
        assert result.counts[split] == len(manifest) > 0
        assert {row["split"] for row in manifest} == {split}
    whole = read_dataset(output / "dataset.csv")
    assert {s: [r.id for r in m] for s, m in whole.items()} == {
        s: [r.id for r in m] for s, m in dataset.items()
    }


def test_curation_headers_begin_with_the_columns_of_cytodl(images_2d: Path, tmp_path: Path) -> None:
    curate(settings_of(images_2d, test=0))
    for name in FILES:
        if name.endswith(".csv") and name != "quality.csv":  # test.csv is empty, but has its header
            header = (tmp_path / "dataset" / name).read_text().splitlines()[0]
            assert header.startswith("raw,seg1,seg2,merge_mask,exclude_mask,base_image,id,split,")
            assert tuple(header.split(",")) == COLUMNS


def test_curation_twice_writes_the_same_bytes(images_2d: Path, tmp_path: Path) -> None:
    curate(settings_of(images_2d))
    first = contents(tmp_path / "dataset")
    curate(settings_of(images_2d))
    assert contents(tmp_path / "dataset") == first
    curate(settings_of(images_2d, output=tmp_path / "other"))
    assert contents(tmp_path / "other") == first


def test_curation_record(images_2d: Path, tmp_path: Path) -> None:
    curate(settings_of(images_2d, test=["img_3"], channel=0))
    folder = tmp_path / "dataset"
    record = json.loads((folder / "dataset.json").read_text())
    assert record["schema"] == 2
    assert record["settings"]["test"] == ["img_3"] and record["settings"]["valid"] == 0.2
    assert record["settings"]["channel"] == 0 and "output" not in record["settings"]
    assert len(record["files"]) == 10
    for name, digest in record["files"].items():
        assert file_hash(folder / name) == digest
    for name, digest in record["manifests"].items():
        assert file_hash(folder / name) == digest
    assert record["images"]["img_0"]["objects"] == 5
    assert record["images"]["img_0"]["shape"] == [48, 56]
    assert set(record["tools"]) == {"python", "cytoloop", "numpy", "tifffile", "bioio"}


def test_curation_relative_data_set_can_be_moved_with_its_images(
    images_2d: Path, tmp_path: Path
) -> None:
    curate(settings_of(images_2d))
    (tmp_path / "away").mkdir()
    for name in ("images", "dataset"):
        shutil.move(tmp_path / name, tmp_path / "away" / name)
    for manifest in read_dataset(tmp_path / "away" / "dataset").values():
        assert all(row.file("raw").is_file() for row in manifest)  # type: ignore[union-attr]


def test_curation_into_a_linked_folder_finds_the_images(images_2d: Path, tmp_path: Path) -> None:
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "away")
    curate(settings_of(images_2d, output=tmp_path / "link"))
    for manifest in read_dataset(tmp_path / "link").values():
        assert all(row.file("seg1").is_file() for row in manifest)  # type: ignore[union-attr]


def test_curation_groups_by_pattern(
    tmp_path: Path, images_2d: Path, tiff: Callable[[Path, np.ndarray], Path]
) -> None:
    for number, name in enumerate(["A1_f0", "A1_f1", "B2_f0", "B2_f1", "C3_f0"]):
        for kind in ("raw", "seg"):
            (images_2d / kind / f"img_{number}.tif").rename(images_2d / kind / f"{name}.tif")
    curate(settings_of(images_2d, group=r"(?P<group>[A-Z]\d)_", test=["A1"], valid=["C3"]))
    rows = read_manifest(tmp_path / "dataset" / "dataset.csv")
    assert [(r.id, r["group"], r["split"]) for r in rows] == [
        ("A1_f0", "A1", "test"),
        ("A1_f1", "A1", "test"),
        ("B2_f0", "B2", "train"),
        ("B2_f1", "B2", "train"),
        ("C3_f0", "C3", "valid"),
    ]


def test_curation_adds_images_and_keeps_all_splits(images_2d: Path, tmp_path: Path) -> None:
    part = settings_of(
        images_2d, raw=images_2d / "raw" / "img_[123].tif", seg1=images_2d / "seg" / "img_[123].tif"
    )
    curate(part)
    first = {r.id: r["split"] for r in read_manifest(tmp_path / "dataset" / "dataset.csv")}
    curate(settings_of(images_2d, seed=99))
    later = {r.id: r["split"] for r in read_manifest(tmp_path / "dataset" / "dataset.csv")}
    assert len(later) == 5 and {name: later[name] for name in first} == first


def test_curation_reports_kept_splits_and_missing_images(
    images_2d: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    curate(settings_of(images_2d))
    for kind in ("raw", "seg"):
        (images_2d / kind / "img_4.tif").unlink()
    with pytest.raises(ManifestError, match="file not found") as caught:
        curate(settings_of(images_2d))
    assert "parent_images=drop" in caught.value.repair
    curate(settings_of(images_2d, parent_images="drop"))
    assert "4 images keep the split of the previous round" in caplog.text
    assert "1 images of the previous round are not in the sources and are left out" in caplog.text
    assert caplog.messages[-1].startswith("4 images: ")


@pytest.fixture
def two_bad(images_2d: Path, tiff: Callable[[Path, np.ndarray], Path]) -> Path:
    tiff(images_2d / "seg" / "img_1.tif", np.zeros((48, 56), np.uint16))
    tiff(images_2d / "seg" / "img_3.tif", np.ones((40, 56), np.uint16))
    return images_2d


def test_curation_refuses_bad_rows_and_writes_nothing(two_bad: Path, tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        curate(settings_of(two_bad))
    assert caught.value.problems == [
        "row 2 (img_1), column 'seg1': holds no object (all background); "
        "correct it or leave it out",
        "row 4 (img_3), column 'seg1': shape (40, 56) but raw is (48, 56)",
    ]
    assert "on_problem=reject" in caught.value.repair
    assert not (tmp_path / "dataset").exists()


def test_curation_rejects_bad_rows_with_their_reason(
    two_bad: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = curate(settings_of(two_bad, on_problem="reject"))
    assert (result.counts["keep"], result.counts["reject"]) == (3, 2)
    rows = {row.id: row for row in read_manifest(tmp_path / "dataset" / "dataset.csv")}
    assert rows["img_3"]["status"] == "reject" and rows["img_3"]["split"] == ""
    assert rows["img_3"]["reason"] == "seg1: shape (40, 56) but raw is (48, 56)"
    assert rows["img_0"]["status"] == "keep" and rows["img_0"]["reason"] == ""
    kept = [row.id for m in read_dataset(tmp_path / "dataset").values() for row in m]
    assert sorted(kept) == ["img_0", "img_2", "img_4"]
    assert "rejected: row 4 (img_3), column 'seg1': shape" in caplog.text


def test_curation_puts_a_rejected_image_back_into_its_split(
    images_2d: Path, tmp_path: Path
) -> None:
    curate(settings_of(images_2d, test=["img_1"]))
    whole = (images_2d / "seg" / "img_1.tif").read_bytes()
    (images_2d / "seg" / "img_1.tif").write_bytes(b"")
    curate(settings_of(images_2d, test=0.2, on_problem="reject"))
    assert "img_1" not in (tmp_path / "dataset" / "test.csv").read_text()
    (images_2d / "seg" / "img_1.tif").write_bytes(whole)
    curate(settings_of(images_2d))
    assert "img_1" in (tmp_path / "dataset" / "test.csv").read_text()


def test_curation_refuses_one_image_in_two_groups(images_2d: Path) -> None:
    shutil.copy(images_2d / "raw" / "img_0.tif", images_2d / "raw" / "img_2.tif")
    with pytest.raises(ManifestError, match="same image as img_0 in 'group img_0'"):
        curate(settings_of(images_2d))
    result = curate(settings_of(images_2d, on_problem="reject"))
    assert [row.id for row in result.rows if row["status"] == "reject"] == ["img_2"]


def test_curation_needs_two_images(images_2d: Path) -> None:
    files = {"raw": images_2d / "raw" / "img_0.tif", "seg1": images_2d / "seg" / "img_0.tif"}
    one = settings_of(images_2d, **files, in_space=False)
    with pytest.raises(ManifestError, match="found 1 image; at least 2 are needed"):
        curate(one)


def test_curation_spacing_of_the_settings_wins_with_a_warning(
    images_3d: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    curate(settings_of(images_3d, spacing_um=[1.2, 0.3, 0.301]))
    assert {r["spacing_um"] for r in read_manifest(tmp_path / "dataset" / "dataset.csv")} == {
        "1.2 0.3 0.301"
    }
    assert (
        "spacing_um=1.2 0.3 0.301 is used, but 5 files have another voxel size: img_0 (0.6 0.3 0.3)"
        in (caplog.text)
    )
    caplog.clear()
    curate(settings_of(images_3d, spacing_um=[0.6, 0.3, 0.301]))
    assert "another voxel size" not in caplog.text


def test_curation_with_excluding_masks_and_a_second_segmentation(
    images_2d: Path, tmp_path: Path
) -> None:
    (images_2d / "masks").mkdir()
    np.save(images_2d / "masks" / "img_2.npy", np.array([[[0, 0], [0, 9], [9, 9], [9, 0]]], float))
    curate(settings_of(images_2d, exclude=images_2d / "masks", seg2=images_2d / "seg"))
    rows = {row.id: row for row in read_manifest(tmp_path / "dataset" / "dataset.csv")}
    assert rows["img_2"]["exclude_mask"] == "../images/masks/img_2.npy"
    assert rows["img_1"]["exclude_mask"] == "" and rows["img_1"]["seg2"].endswith("seg/img_1.tif")


def test_curation_of_a_csv_uses_its_rows_as_they_are(images_2d: Path, tmp_path: Path) -> None:
    table = tmp_path / "images" / "table.csv"
    places = ["test", "val", "training", "", ""]
    write_manifest(
        table,
        [
            {
                "raw": f"raw/img_{i}.tif",
                "seg1": f"seg/img_{i}.tif",
                "split": places[i],
                "plate": f"P{i}",
                "status": "reject" if i == 4 else "",
                "reason": "blurred" if i == 4 else "",
                "spacing_um": "2 1 1" if i == 0 else "",
            }
            for i in range(5)
        ],
        ("raw", "seg1", "split"),
    )
    curate(settings_of(images_2d, raw=table, seg1=None, group="plate", spacing_um=[3, 1, 1]))
    rows = {row.id: row for row in read_manifest(tmp_path / "dataset" / "dataset.csv")}
    assert [rows[f"img_{i}"]["split"] for i in range(3)] == ["test", "valid", "train"]
    assert rows["img_3"]["split"] in ("train", "valid", "test")
    assert (rows["img_4"]["status"], rows["img_4"]["reason"]) == ("reject", "blurred")
    assert rows["img_0"]["group"] == rows["img_0"]["plate"] == "P0"
    assert (rows["img_0"]["spacing_um"], rows["img_1"]["spacing_um"]) == ("2 1 1", "3 1 1")
    assert rows["img_0"]["raw"] == "../images/raw/img_0.tif"
    curate(settings_of(images_2d, raw=tmp_path / "dataset" / "dataset.csv", seg1=None))
    again = {row.id: row["split"] for row in read_manifest(tmp_path / "dataset" / "dataset.csv")}
    assert again == {name: row["split"] for name, row in rows.items()}


def table_of(images: Path, **columns: list[str]) -> Path:
    rows = [
        {
            "raw": f"raw/img_{i}.tif",
            "seg1": f"seg/img_{i}.tif",
            **{name: cells[i] for name, cells in columns.items()},
        }
        for i in range(3)
    ]
    write_manifest(images / "table.csv", rows, ("raw", "seg1"))
    return images / "table.csv"


def test_curation_of_a_csv_with_equal_ids(images_2d: Path) -> None:
    table = table_of(images_2d, time=["0", "1", "2"])
    text = table.read_text().replace("img_2", "img_0")
    table.write_text(text)
    with pytest.raises(ManifestError, match="rows 1, 3 have the same id 'img_0'"):
        curate(settings_of(images_2d, raw=table, seg1=None))


def test_curation_of_a_csv_with_wrong_splits(images_2d: Path, tmp_path: Path) -> None:
    curate(settings_of(images_2d, test=["img_1"], valid=["img_3"]))
    table = table_of(images_2d, split=["train", "train", "hold"])
    with pytest.raises(ManifestError) as caught:
        curate(settings_of(images_2d, raw=table, seg1=None))
    assert caught.value.problems == [
        "row 2 (img_1), column 'split': train; expected test, the split of the previous round",
        "row 3 (img_2), column 'split': 'hold'; expected train, valid or test",
    ]


def test_curation_hashes_a_changed_image_again(
    images_2d: Path,
    tmp_path: Path,
    blobs: Callable[..., tuple[np.ndarray, np.ndarray]],
    tiff: Callable[[Path, np.ndarray], Path],
) -> None:
    curate(settings_of(images_2d))
    changed = tiff(images_2d / "raw" / "img_0.tif", blobs((48, 56), 5, seed=77)[0])
    table = tmp_path / "dataset" / "dataset.csv"
    assert read_manifest(table).rows[0]["sha256"] != file_hash(changed)
    curate(settings_of(images_2d, raw=table, seg1=None))
    assert read_manifest(table).rows[0]["sha256"] == file_hash(changed)


def test_curation_refuses_images_without_a_group(images_2d: Path) -> None:
    with pytest.raises(ManifestError, match="no group found for img_2, img_3, img_4"):
        curate(settings_of(images_2d, group="(?P<group>img_[01])"))
    with pytest.raises(ConfigError, match=r"'plate': is not a pattern with a part"):
        curate(settings_of(images_2d, group="plate"))
    table = table_of(images_2d)
    with pytest.raises(ConfigError, match=r"not a column \(columns: .*seg1"):
        curate(settings_of(images_2d, raw=table, seg1=None, group="plate"))


def test_curation_lists_all_wrong_settings() -> None:
    with pytest.raises(ConfigError) as caught:
        CurationSettings(
            raw="images",
            output="x",
            key="(?P<id",
            group="(a)",
            valid=0,
            spacing_um=[1, 0, 1],
            paths="near",
            on_problem="skip",
        )
    message = str(caught.value)
    assert len(caught.value.problems) == 7
    for words in (
        "valid=0",
        "paths_in_manifest=near: expected relative or absolute",
        "on_problem=skip: expected refuse or reject",
        "seg1 is missing",
        "spacing_um=[1, 0, 1]: expected",
        "key='(?P<id': is not a regular expression",
        "group='(a)': has no part named (?P<group>...)",
    ):
        assert words in message
    with pytest.raises(ConfigError, match=r"seg1=labels: the table raw=a.csv names"):
        CurationSettings(raw="a.csv", seg1="labels", output="x")


def test_curation_refuses_a_folder_with_other_tables(images_2d: Path, tmp_path: Path) -> None:
    output = tmp_path / "dataset"
    output.write_text("")
    with pytest.raises(OutputError, match="is a file"):
        curate(settings_of(images_2d))
    output.unlink()
    output.mkdir()
    (output / "train.csv").write_text("raw,seg1\n")
    with pytest.raises(OutputError, match=r"holds train.csv, which `cytoloop curate` did not"):
        curate(settings_of(images_2d))
    (output / "train.csv").unlink()
    curate(settings_of(images_2d))
    (output / "train_backup.csv").write_text("raw,seg1\n")
    with pytest.raises(OutputError, match=r"train_backup\.csv"):
        curate(settings_of(images_2d))


def test_curation_refuses_a_damaged_data_set(images_2d: Path, tmp_path: Path) -> None:
    curate(settings_of(images_2d))
    table = tmp_path / "dataset" / "dataset.csv"
    table.write_text(
        table.read_text()
        .replace(",img_0,train,", ",img_0,hold,")
        .replace(",img_0,valid,", ",img_0,hold,")
        .replace(",img_0,test,", ",img_0,hold,")
    )
    with pytest.raises(ManifestError, match=r"row 1 \(img_0\), column 'split': 'hold'; expected"):
        curate(settings_of(images_2d))


@pytest.mark.parametrize("fails_at", range(6))
def test_curation_detects_and_repairs_a_data_set_left_by_a_crash(
    images_2d: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    curate(settings_of(images_2d))
    before = contents(tmp_path / "dataset")
    (images_2d / "raw" / "img_4.tif").unlink()
    (images_2d / "seg" / "img_4.tif").unlink()
    moves = iter(range(100))
    real = os.replace

    def crash(source: Path, target: Path) -> None:
        if Path(target).parent.name == "dataset" and next(moves) == fails_at:
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(OutputError, match="cannot be written to: No space left on device"):
        curate(settings_of(images_2d, parent_images="drop"))
    after = contents(tmp_path / "dataset")
    assert sorted(after) == FILES  # no temporary files
    assert after["dataset.json"] == before["dataset.json"]
    assert (after == before) == (fails_at == 0)
    monkeypatch.undo()
    curate(settings_of(images_2d, parent_images="drop"))
    record = json.loads(contents(tmp_path / "dataset")["dataset.json"])
    for name, digest in record["manifests"].items():
        assert file_hash(tmp_path / "dataset" / name) == digest


def test_curation_absolute_paths(images_2d: Path, tmp_path: Path) -> None:
    curate(settings_of(images_2d, paths="absolute"))
    rows = read_manifest(tmp_path / "dataset" / "train.csv")
    assert all(Path(row["raw"]).is_absolute() and Path(row["raw"]).is_file() for row in rows)


def test_curation_to_another_drive_needs_absolute_paths(
    images_2d: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_drive(path: object, start: object) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", other_drive)
    with pytest.raises(
        OutputError, match=r"no relative path .*img_0.*\nGive paths_in_manifest=abs"
    ):
        curate(settings_of(images_2d))
    curate(settings_of(images_2d, paths="absolute"))


def test_curation_counts_its_rows() -> None:
    row = Row({"id": "a", "status": "keep", "split": "train"})
    assert count_rows([row])["train"] == 1
    with pytest.raises(RuntimeError, match="rows were lost"):
        count_rows([row, Row({"id": "b", "status": "maybe"})])
    with pytest.raises(RuntimeError, match="rows are in no split"):
        count_rows([Row({"id": "b", "status": "keep"})])


def test_curation_accepts_lists_of_hydra(images_2d: Path, tmp_path: Path) -> None:
    from omegaconf import OmegaConf

    cfg = OmegaConf.create({"test": ["img_0"], "valid": ["img_1"], "spacing_um": [1, 2, 3]})
    curate(settings_of(images_2d, **{str(key): cfg[key] for key in cfg}))
    record = json.loads((tmp_path / "dataset" / "dataset.json").read_text())
    assert record["settings"]["test"] == ["img_0"]
    assert record["settings"]["spacing_um"] == [1.0, 2.0, 3.0]
