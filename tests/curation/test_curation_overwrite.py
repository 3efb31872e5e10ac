"""`overwrite=true` starts a new data set and removes only what curation wrote before."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cytoloop.curation import CurationSettings, append_decision, curate, validate_dataset
from cytoloop.errors import ConfigError, ManifestError, OutputError
from cytoloop.manifest import Row, read_dataset, read_manifest


def settings_of(images: Path, **changes: object) -> CurationSettings:
    given = {"raw": images / "raw", "seg1": images / "seg", "output": images.parent / "dataset"}
    return CurationSettings(**{**given, **changes})  # type: ignore[arg-type]


def rows_of(folder: Path) -> dict[str, Row]:
    return {row.id: row for row in read_manifest(folder / "dataset.csv")}


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def merging(images_2d: Path) -> dict[str, Path]:
    """A second segmentation, and a merging region of one image."""
    shutil.copytree(images_2d / "seg", images_2d / "seg2")
    (images_2d / "merge").mkdir()
    square = np.array([[[5, 5], [5, 30], [30, 30], [30, 5]]], float)
    np.save(images_2d / "merge" / "img_1.npy", square)
    return {"seg2": images_2d / "seg2", "merge": images_2d / "merge"}


def test_overwrite_writes_the_bytes_of_a_new_data_set(
    images_2d: Path, merging: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "dataset"
    curate(settings_of(images_2d))
    new = contents(folder)
    shutil.rmtree(folder)
    old = {"test": ["img_0"], "valid": ["img_1"], "folds": 2, "group": r"(?P<group>img_\d)"}
    rules = {"exclude_rules": "outside_labels(2)", "materialize": True, "report": True}
    curate(settings_of(images_2d, **merging, **old, **rules))
    assert len(list(folder.glob("targets/*"))) == 1 and len(list(folder.glob("regions/*"))) >= 5
    curate(settings_of(images_2d, overwrite=True))
    assert contents(folder) == new
    assert json.loads(new["dataset.json"])["parent"] is None
    curate(settings_of(images_2d, overwrite=True))
    assert contents(folder) == new


def test_without_overwrite_the_next_round_starts(images_2d: Path, tmp_path: Path) -> None:
    curate(settings_of(images_2d, test=["img_0"], valid=["img_1"]))
    curate(settings_of(images_2d, seed=1))
    assert rows_of(tmp_path / "dataset")["img_0"]["split"] == "test"
    assert json.loads((tmp_path / "dataset" / "dataset.json").read_text())["parent"]["round"] == 0
    curate(settings_of(images_2d, test=["img_1"], valid=["img_0"], overwrite=True))
    assert rows_of(tmp_path / "dataset")["img_0"]["split"] == "valid"


def test_overwrite_keeps_decisions_and_files_of_the_user(images_2d: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    curate(settings_of(images_2d, exclude_rules="outside_labels(2)"))
    append_decision(folder / "decisions.csv", {"id": "img_2", "decision": "reject"})
    own = [folder / "notes.txt", folder / "regions" / "drawn.npy", folder / "cytodl" / "model.txt"]
    for path in own:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    log = (folder / "decisions.csv").read_bytes()
    curate(settings_of(images_2d, overwrite=True))
    assert (folder / "decisions.csv").read_bytes() == log
    assert [path.read_text() for path in own] == ["mine"] * 3
    assert [path.name for path in (folder / "regions").iterdir()] == ["drawn.npy"]
    assert rows_of(folder)["img_2"]["status"] == "reject"


def test_overwrite_removes_nothing_when_curation_fails(images_2d: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    curate(settings_of(images_2d, exclude_rules="outside_labels(2)", report=True))
    before = contents(folder)
    (images_2d / "seg" / "img_0.tif").write_bytes(b"")
    with pytest.raises(ManifestError, match="Nothing was written"):
        curate(settings_of(images_2d, overwrite=True))
    assert contents(folder) == before
    (folder / "train_old.csv").write_text("raw,seg1\n")  # not ours: still refused
    with pytest.raises(OutputError, match=r"holds train_old\.csv"):
        curate(settings_of(images_2d, overwrite=True))


def test_overwrite_keeps_images_that_the_new_data_set_uses(
    images_2d: Path, merging: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "dataset"
    curate(settings_of(images_2d, **merging, materialize=True))
    (target,) = (folder / "targets").iterdir()
    table = {"raw": folder / "dataset.csv", "seg1": None}
    curate(settings_of(images_2d, **table, overwrite=True))
    assert rows_of(folder)["img_1"].file("seg1") == target and target.is_file()
    validate_dataset(read_dataset(folder))


def test_overwrite_needs_images_and_another_parent(images_2d: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    curate(settings_of(images_2d))
    with pytest.raises(ConfigError, match="raw is missing"):
        CurationSettings(output=folder, overwrite=True)
    with pytest.raises(ConfigError, match="is the data set that overwrite=true removes"):
        settings_of(images_2d, parent=folder, overwrite=True)
    with pytest.raises(ConfigError, match="overwrite=maybe: expected true or false"):
        settings_of(images_2d, overwrite="maybe")
    curate(settings_of(images_2d, output=tmp_path / "next", test=["img_0"]))
    curate(CurationSettings(parent=folder, output=tmp_path / "next", overwrite=True))
    assert rows_of(tmp_path / "next")["img_0"]["split"] == rows_of(folder)["img_0"]["split"]
