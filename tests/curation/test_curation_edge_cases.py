"""Curation after user mistakes: files renamed or changed, settings left out, half-finished logs."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cytoloop.curation import CurationSettings, append_decision, curate, validate_dataset
from cytoloop.errors import ConfigError, ManifestError, OutputError
from cytoloop.home import expand_home
from cytoloop.manifest import Row, read_dataset, read_manifest, write_manifest
from cytoloop.truth.targets import read_target

Blobs = Callable[..., tuple[np.ndarray, np.ndarray]]
Tiff = Callable[[Path, np.ndarray], Path]


def settings_of(images: Path, **changes: object) -> CurationSettings:
    given = {"raw": images / "raw", "seg1": images / "seg", "output": images.parent / "dataset"}
    return CurationSettings(**{**given, **changes})  # type: ignore[arg-type]


def rows_of(folder: Path) -> dict[str, Row]:
    return {row.id: row for row in read_manifest(folder / "dataset.csv")}


def box(path: Path, at: int, size: int = 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    end = at + size - 1
    np.save(path, np.array([[[at, at], [at, end], [end, end], [end, at]]], float))
    return path


def test_a_log_given_once_stays_in_the_data_set(images_2d: Path, tmp_path: Path) -> None:
    log = tmp_path / "elsewhere" / "log.csv"
    box(tmp_path / "elsewhere" / "m.npy", 5)
    append_decision(log, {"id": "img_1", "decision": "reject", "curator": "Ann"})
    append_decision(log, {"id": "img_2", "exclude": "m.npy"})
    curate(settings_of(images_2d, decisions=log))
    first = rows_of(tmp_path / "dataset")
    curate(settings_of(images_2d))
    again = rows_of(tmp_path / "dataset")
    assert again["img_1"]["curator"] == "Ann" and again["img_1"]["status"] == "reject"
    assert again["img_2"]["exclude_mask"] == first["img_2"]["exclude_mask"] != ""
    # the old log, given again, does not undo a later decision
    append_decision(tmp_path / "dataset" / "decisions.csv", {"id": "img_1", "decision": "keep"})
    curate(settings_of(images_2d, decisions=log))
    assert rows_of(tmp_path / "dataset")["img_1"]["status"] == "keep"


def test_logs_of_parent_and_output_are_joined(images_2d: Path, tmp_path: Path) -> None:
    curate(settings_of(images_2d, output=tmp_path / "one"))
    append_decision(tmp_path / "one" / "decisions.csv", {"id": "img_3", "decision": "reject"})
    append_decision(tmp_path / "one" / "decisions.csv", {"id": "img_4", "exclude": "labels(1)"})
    append_decision(tmp_path / "two" / "decisions.csv", {"id": "img_4", "decision": "keep"})
    curate(settings_of(images_2d, parent=tmp_path / "one", output=tmp_path / "two"))
    curate(CurationSettings(output=tmp_path / "two"))
    rows = rows_of(tmp_path / "two")
    assert rows["img_3"]["status"] == "reject" and rows["img_4"]["exclude_mask"]
    (tmp_path / "one" / "decisions.csv").write_text("")  # an empty log is valid
    curate(settings_of(images_2d, parent=tmp_path / "one", output=tmp_path / "three"))


def test_a_failed_export_or_report_does_not_change_the_data_set(
    images_2d: Path, tmp_path: Path
) -> None:
    with pytest.raises(ManifestError, match="img_"):  # CytoDL crashes on 2D masks
        curate(settings_of(images_2d, exclude_rules="outside_labels(2)", export="cytodl"))
    validate_dataset(read_dataset(tmp_path / "dataset"))
    assert list((tmp_path / "dataset" / "regions").iterdir())
    (tmp_path / "dataset" / "report.html").mkdir()
    with pytest.raises(OutputError, match=r"report.html: cannot be written"):
        curate(settings_of(images_2d, exclude_rules="outside_labels(2)", report=True))
    validate_dataset(read_dataset(tmp_path / "dataset"))


def test_files_that_swap_names_are_checked_again(images_2d: Path, tmp_path: Path) -> None:
    one, other = (images_2d / "seg" / f"img_{i}.tif" for i in (0, 1))
    labels = tifffile.imread(other)
    tifffile.imwrite(one, np.where(labels == 2, 0, labels))
    tifffile.imwrite(other, labels)  # the same size
    for path in images_2d.rglob("*.tif"):
        os.utime(path, (1e9, 1e9))
    cache = tmp_path / "checks.sqlite"
    first = curate(settings_of(images_2d), cache=cache).checks
    assert one.stat().st_size == other.stat().st_size
    time.sleep(0.01)
    one.rename(tmp_path / "aside.tif")
    other.rename(one)
    (tmp_path / "aside.tif").rename(other)
    again = curate(settings_of(images_2d), cache=cache).checks
    assert first["img_0"].objects == again["img_1"].objects != first["img_1"].objects


def test_undecided_images_can_be_rejected_in_a_later_round(images_2d: Path, tmp_path: Path) -> None:
    curate(settings_of(images_2d))
    with pytest.raises(ManifestError) as caught:
        curate(CurationSettings(output=tmp_path / "dataset", undecided="reject"))
    assert caught.value.problems == ["5 images are rejected: undecided"]
    with pytest.raises(
        ManifestError, match=r"5 images are rejected: focus is below 50 \(blurred\)"
    ) as caught:
        low = {"focus": {"min": 50, "action": "reject"}}
        curate(CurationSettings(output=tmp_path / "dataset", quality=low))
    assert "Loosen the limits" in caught.value.repair


def test_the_group_pattern_is_inherited(images_2d: Path, tmp_path: Path) -> None:
    for i in range(5):
        for kind in ("raw", "seg"):
            (images_2d / kind / f"img_{i}.tif").rename(images_2d / kind / f"E{i}_t0.tif")
    curate(settings_of(images_2d, group=r"(?P<group>E\d)", test=["E0"], valid=["E1"]))
    raw, labels = tifffile.imread(images_2d / "raw" / "E0_t0.tif"), images_2d / "seg" / "E0_t0.tif"
    (tmp_path / "more" / "raw").mkdir(parents=True)
    (tmp_path / "more" / "seg").mkdir()
    tifffile.imwrite(tmp_path / "more" / "raw" / "E0_t1.tif", raw[::-1])
    tifffile.imwrite(tmp_path / "more" / "seg" / "E0_t1.tif", tifffile.imread(labels)[::-1])
    curate(settings_of(tmp_path / "more", output=tmp_path / "dataset"))
    row = rows_of(tmp_path / "dataset")["E0_t1"]
    assert (row["group"], row["split"]) == ("E0", "test")


def test_sources_that_are_left_out_are_inherited(images_2d: Path, tmp_path: Path) -> None:
    box(images_2d / "ex" / "img_1.npy", 5)
    shutil.copytree(images_2d / "seg", images_2d / "seg2")
    box(images_2d / "me" / "img_2.npy", 20)
    given = {name: images_2d / name[:2] for name in ("exclude", "merge")}
    curate(settings_of(images_2d, seg2=images_2d / "seg2", channel_seg2=0, **given))
    first = rows_of(tmp_path / "dataset")
    curate(settings_of(images_2d))
    again = rows_of(tmp_path / "dataset")
    assert {n: r.values for n, r in again.items()} == {n: r.values for n, r in first.items()}
    assert (
        again["img_1"]["exclude_mask"] and again["img_2"]["merge_mask"] and again["img_0"]["seg2"]
    )


def test_renamed_images_keep_their_split(images_2d: Path, tmp_path: Path) -> None:
    curate(settings_of(images_2d, test=["img_2"], valid=["img_4"]))
    for kind in ("raw", "seg"):
        for i in range(5):
            (images_2d / kind / f"img_{i}.tif").rename(images_2d / kind / f"x_{i}.tif")
    curate(settings_of(images_2d, parent_images="drop"))
    splits = {name: row["split"] for name, row in rows_of(tmp_path / "dataset").items()}
    assert (splits["x_2"], splits["x_4"]) == ("test", "valid")
    assert list(splits.values()).count("train") == 3


def test_a_changed_raw_file_gives_a_warning(
    images_2d: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    curate(settings_of(images_2d))
    tifffile.imwrite(
        images_2d / "raw" / "img_3.tif", tifffile.imread(images_2d / "raw" / "img_3.tif")[::-1]
    )
    curate(settings_of(images_2d))
    assert "1 raw images have changed since the previous round, and keep their split: img_3" in (
        caplog.text
    )


def test_near_duplicates_are_found_beyond_the_nearest_image(
    images_2d: Path, blobs: Blobs, tiff: Tiff
) -> None:
    rng = np.random.default_rng(1)
    base, labels = blobs((48, 56), 5, seed=3)
    for pair, number in ((0, 0), (0, 1), (1, 2), (1, 3)):
        # little noise within a pair, more noise between pairs
        noise = np.random.default_rng(pair).normal(0, 40, base.shape) + rng.normal(0, 2, base.shape)
        image = np.clip(base + noise, 0, None).astype(np.uint16)
        tiff(images_2d / "raw" / f"img_{number}.tif", image)
        tiff(images_2d / "seg" / f"img_{number}.tif", labels)
    with pytest.raises(ManifestError) as caught:
        curate(settings_of(images_2d, test=["img_2", "img_3"], valid=["img_4"]))
    assert len(caught.value.problems) == 4
    with pytest.raises(ManifestError, match=r"\(train, fold \d\) and img_1 \(train, fold \d\)"):
        two = settings_of(images_2d, test=["img_2", "img_3"], valid=["img_4"], folds=3)
        curate(two)


def test_time_series_need_a_segmentation_of_each_time(tmp_path: Path, blobs: Blobs) -> None:
    for name in "ab":
        frames = [blobs((32, 32), 3, seed=t + 10 * ord(name), radius=3) for t in range(3)]
        for kind in ("raw", "seg"):
            (tmp_path / kind).mkdir(exist_ok=True)
        stack = np.stack([frame[0] for frame in frames])
        tifffile.imwrite(
            tmp_path / "raw" / f"{name}.tif", stack, imagej=True, metadata={"axes": "TYX"}
        )
        tifffile.imwrite(tmp_path / "seg" / f"{name}.tif", frames[0][1])
    with pytest.raises(ManifestError, match=r"\(a\), column 'seg1': has 1 time points but raw"):
        curate(settings_of(tmp_path, output=tmp_path / "d", time="all"))


def test_materialized_targets_can_be_made_again_and_undone(images_2d: Path, tmp_path: Path) -> None:
    shutil.copytree(images_2d / "seg", images_2d / "seg2")
    for path in (images_2d / "seg2").iterdir():
        tifffile.imwrite(path, tifffile.imread(path)[::-1])
    box(tmp_path / "merge.npy", 5, 30)
    folder = tmp_path / "dataset"
    append_decision(folder / "decisions.csv", {"id": "img_1", "merge": "../merge.npy"})
    curate(settings_of(images_2d, seg2=images_2d / "seg2", materialize=True))
    first = (folder / "dataset.csv").read_bytes()
    target = read_target(rows_of(folder)["img_1"])[0]
    curate(CurationSettings(output=folder, materialize=True))
    assert (folder / "dataset.csv").read_bytes() == first
    curate(CurationSettings(output=folder))
    row = rows_of(folder)["img_1"]
    assert row["merge_mask"] and row["seg2"].endswith("seg2/img_1.tif")
    assert (read_target(row)[0] == target).all()
    append_decision(folder / "decisions.csv", {"id": "img_1", "merge": "none"})
    curate(CurationSettings(output=folder, materialize=True))
    assert rows_of(folder)["img_1"]["seg1"] == "../images/seg/img_1.tif"


def test_rejected_rows_get_their_fold_back(images_2d: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    curate(settings_of(images_2d, folds=2, test=0))
    first = {name: row["fold"] for name, row in rows_of(folder).items()}
    for name in ("img_0", "img_1"):
        append_decision(folder / "decisions.csv", {"id": name, "decision": "reject"})
    curate(settings_of(images_2d, folds=2, test=0))
    for name in ("img_0", "img_1"):
        append_decision(folder / "decisions.csv", {"id": name, "decision": "undecided"})
    curate(settings_of(images_2d, folds=2, test=0))
    assert {name: row["fold"] for name, row in rows_of(folder).items()} == first


def test_predictions_of_other_images_are_refused(images_2d: Path, tmp_path: Path) -> None:
    line = {"id": "img_0", "raw": "/elsewhere/other.tif", "labels": images_2d / "seg" / "img_0.tif"}
    write_manifest(tmp_path / "predictions.csv", [line], ("id", "raw"))
    with pytest.raises(ManifestError, match="img_0: was predicted on /elsewhere/other.tif"):
        curate(settings_of(images_2d, predictions=tmp_path / "predictions.csv"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,decision,exlude\na,keep,x.npy\n", "unknown column 'exlude' \\(did you mean exclude"),
        ("id,decision,reason,curator\na,reject,blurred, ugly,Ann\n", "has 5 cells for 4 columns"),
        ("id,decision,id\na,reject,b\n", "has the column 'id' twice"),
        ('id,decision,reason\na,keep,"open\nb,reject,x\n', "A quote is open"),
    ],
)
def test_logs_with_problems_are_refused(
    images_2d: Path, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(ManifestError, match=message):
        curate(settings_of(images_2d, decisions=tmp_path / "log.csv"))


def test_status_of_a_table_in_any_case(images_2d: Path, tmp_path: Path) -> None:
    table = images_2d / "table.csv"
    words = ["Reject", "KEEP", "", "", ""]
    lines = [f"raw/img_{i}.tif,seg/img_{i}.tif,{word}" for i, word in enumerate(words)]
    table.write_text("\n".join(["raw,seg1,status", *lines]) + "\n")
    curate(settings_of(images_2d, raw=table, seg1=None))
    assert rows_of(tmp_path / "dataset")["img_0"]["status"] == "reject"
    table.write_text(table.read_text().replace("KEEP", "maybe"))
    with pytest.raises(ManifestError, match=r"'status': 'maybe'; expected keep, reject or nothing"):
        curate(settings_of(images_2d, raw=table, seg1=None))


def test_settings_of_wrong_types_are_listed_together(images_2d: Path) -> None:
    wrong = {
        "key": None,
        "valid": None,
        "folds": 2.5,
        "quality": None,
        "exclude_rules": None,
        "seed": "abc",
        "stratify": "maybe",
        "materialize": 1,
        "workers": -1,
    }
    with pytest.raises(ConfigError) as caught:
        settings_of(images_2d, **wrong)
    assert len(caught.value.problems) == 9
    assert "seed=abc: expected a whole number" in caught.value.problems
    with pytest.raises(ConfigError, match="folds=0: expected a number of folds from 2 up"):
        settings_of(images_2d, folds=0)


def test_unusual_names_of_files_and_folders(images_2d: Path, tmp_path: Path) -> None:
    odd = tmp_path / "it's; a b"
    shutil.move(images_2d, odd)
    for kind in ("raw", "seg"):
        (odd / kind / "img_0.tif").rename(odd / kind / "~someone.tif")
    box(odd / "ex" / "img_1.npy", 5)
    given = {
        "exclude": odd / "ex",
        "exclude_rules": "outside_labels(3)",
        "output": odd / "raw" / "d",
    }
    curate(settings_of(odd, **given))
    # the mask is made of two regions, one of them with a semicolon in its path
    curate(CurationSettings(output=odd / "raw" / "d", exclude_rules="outside_labels(3)"))
    rows = rows_of(odd / "raw" / "d")
    assert rows["~someone"].file("raw") == odd / "raw" / "~someone.tif"
    assert "ex/img_1.npy" in rows["img_1"]["exclude"]
    with pytest.raises(ConfigError, match="no such file or folder"):
        curate(CurationSettings(raw="~someone/x", seg1="~someone/x", output=tmp_path / "d"))
    with pytest.raises(ManifestError, match="no such data set"):
        read_dataset("~someone/dataset")
    assert expand_home("~") == Path.home() and expand_home("~/a") == Path.home() / "a"


def test_the_record_does_not_depend_on_where_the_command_was_started(
    images_2d: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    curate(CurationSettings(raw="images/raw", seg1="images/seg", output="dataset"))
    first = (tmp_path / "dataset" / "dataset.json").read_bytes()
    monkeypatch.chdir(images_2d)
    curate(CurationSettings(raw="raw", seg1="seg", output="../dataset"))
    assert (tmp_path / "dataset" / "dataset.json").read_bytes() == first
    assert json.loads(first)["settings"]["raw"] == "../images/raw"
