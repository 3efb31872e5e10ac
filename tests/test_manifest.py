"""Manifests: columns, reading, validation, splits, folds and writing."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from cytoloop import manifest
from cytoloop.api.results import read_table
from cytoloop.errors import ManifestError
from cytoloop.manifest import (
    COLUMNS,
    CYTODL_COLUMNS,
    OWN_COLUMNS,
    dataset_hash,
    read_dataset,
    read_manifest,
    write_manifest,
)


def write(path: Path, *rows: dict[str, str]) -> Path:
    manifest.write_manifest(path, rows)
    return path


def test_cytodl_columns_are_written_first(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", {"raw": "a.tif", "zoom": "2", "id": "a"})
    header = path.read_text().splitlines()[0].split(",")
    assert header == [*COLUMNS, "zoom"] and header[:6] == list(CYTODL_COLUMNS)


def test_no_own_column_starts_with_the_name_of_a_cytodl_column() -> None:
    # CytoDL finds its columns by prefix
    assert not [own for own in OWN_COLUMNS if own.startswith(CYTODL_COLUMNS)]


def test_reading_returns_what_was_written(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", {"raw": "x/a.ome.tif", "spacing_um": "2 0.5 0.25"})
    (row,) = read_manifest(path)
    assert row.id == "a" and row.spacing_um == (2.0, 0.5, 0.25) and row.number == 1
    assert row.file("raw") == tmp_path.resolve() / "x/a.ome.tif" and row.file("seg1") is None


def test_hexadecimal_cells_are_text_for_pandas(tmp_path: Path) -> None:
    # without a prefix, pandas 2.3 reads this as a number and ends the process
    cells = {"sha256": "12e3000000000c", "run_id": "3e2684354560ab", "settings": "0123456789012345"}
    write_manifest(tmp_path / "a.csv", [{"raw": "a.tif", **cells}], ("raw",))
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[1] == ("a.tif,runs:/3e2684354560ab,sha256:0123456789012345,sha256:12e3000000000c")
    (row,) = read_manifest(tmp_path / "a.csv")
    assert {name: row[name] for name in cells} == cells
    table = pd.read_csv(tmp_path / "a.csv")
    assert table["settings"][0] == "sha256:0123456789012345"
    assert read_table(tmp_path / "a.csv").loc[0, list(cells)].to_dict() == cells


def test_a_plugin_manifest_with_an_index_column_is_read(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text(",raw,seg1,seg2,merge_mask,exclude_mask,base_image\n0,/a.tif,/b.tif,,,,seg1\n")
    (row,) = read_manifest(path, ("raw", "seg1"))
    assert row["base_image"] == "seg1" and "" not in row.values


def test_one_error_lists_all_problems(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", {"raw": "a", "id": "1"}, {"id": "1"}, {"raw": "", "id": "2"})
    with pytest.raises(ManifestError, match="3 problems") as caught:
        read_manifest(path)
    assert "row 2: id '1' is also in row 1" in str(caught.value)


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n"])
def test_missing_columns_are_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "m.csv"
    path.write_text(text)
    with pytest.raises(ManifestError, match="has no column raw"):
        read_manifest(path)


def test_error_for_a_missing_manifest_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="cytoloop curate"):
        read_manifest(tmp_path / "none.csv")


def test_an_image_is_not_a_manifest(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(b"\x89PNG\xff\xfe\x00")
    with pytest.raises(ManifestError, match="is not a CSV file"):
        read_manifest(path)


@pytest.mark.parametrize("text", ["1 2", "a b c", "1 0 1", "1 2 3 4"])
def test_voxel_size_needs_three_positive_numbers_or_two_for_yx(tmp_path: Path, text: str) -> None:
    (row,) = read_manifest(write(tmp_path / "m.csv", {"raw": "a", "spacing_um": text}))
    if text == "1 2":
        assert row.spacing_um == (1.0, 1.0, 2.0)
    else:
        with pytest.raises(ManifestError, match="is not a voxel size"):
            _ = row.spacing_um


def test_a_data_set_is_a_folder_or_one_file(tmp_path: Path) -> None:
    both = [{"raw": "a", "seg1": "b", "split": "train"}, {"raw": "c", "seg1": "d", "split": "val"}]
    write(tmp_path / "all.csv", *both)
    one = read_dataset(tmp_path / "all.csv")
    assert [len(one[s]) for s in ("train", "valid", "test")] == [1, 1, 0]
    folder = tmp_path / "f"
    write(folder / "train.csv", both[0], {"raw": "x", "seg1": "y", "status": "reject"})
    write(folder / "val.csv", both[1])
    two = read_dataset(folder)
    assert [len(two[s]) for s in ("train", "valid", "test")] == [1, 1, 0]


def test_invalid_data_sets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such data set"):
        read_dataset(tmp_path / "none")
    with pytest.raises(ManifestError, match="no training image"):
        read_dataset(tmp_path)
    row = {"raw": "a", "seg1": "b"}
    write(tmp_path / "train.csv", row)
    write(tmp_path / "val.csv", row)
    write(tmp_path / "valid.csv", row)
    with pytest.raises(ManifestError, match=r"valid\.csv and val\.csv, expected one"):
        read_dataset(tmp_path)
    write(tmp_path / "one.csv", row | {"split": "holdout"})
    with pytest.raises(ManifestError, match="'holdout' is not a split"):
        read_dataset(tmp_path / "one.csv")


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "m.csv", {"raw": "old"})

    def crash(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(OSError, match="disk full"):
        write(path, {"raw": "new"})
    assert "old" in path.read_text() and os.listdir(tmp_path) == ["m.csv"]


def test_data_set_hash_depends_on_contents_not_on_the_folder(tmp_path: Path) -> None:
    hashes = []
    for name, text in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "r.tif").write_bytes(text)
        write(tmp_path / name / "train.csv", {"raw": "r.tif", "seg1": "r.tif"})
        hashes.append(dataset_hash(read_dataset(tmp_path / name)))
    assert hashes[0] == hashes[1] != hashes[2]


def test_time_point_is_a_number(tmp_path: Path) -> None:
    rows = [{"raw": "a", "id": "1"}, {"raw": "a", "id": "2", "time": "3"}]
    one, two = read_manifest(write(tmp_path / "m.csv", *rows))
    assert (one.time, two.time) == (None, 3)
    (bad,) = read_manifest(write(tmp_path / "b.csv", {"raw": "a", "time": "last"}))
    with pytest.raises(ManifestError, match="column 'time': 'last' is not a time point"):
        _ = bad.time


def test_line_breaks_in_cells_are_written_as_newlines(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.csv", [{"raw": "a.tif", "reason": "one\r\ntwo\rthree\nfour"}])
    (row,) = read_manifest(tmp_path / "m.csv")
    assert row["reason"] == "one\ntwo\nthree\nfour"


def test_fold_selects_validation_and_training_rows(tmp_path: Path) -> None:
    rows = [
        {"raw": f"{i}.tif", "seg1": f"{i}.tif", "split": split, "fold": fold, "status": status}
        for i, (split, fold, status) in enumerate(
            [
                ("train", "0", "keep"),
                ("train", "1", "keep"),
                ("valid", "0", "keep"),
                ("test", "", "keep"),
                ("train", "1", "reject"),
            ]
        )
    ]
    write_manifest(tmp_path / "dataset.csv", rows)
    found = read_dataset(tmp_path, fold=0)
    assert {s: [r["raw"] for r in m] for s, m in found.items()} == {
        "train": ["1.tif"],
        "valid": ["0.tif", "2.tif"],
        "test": ["3.tif"],
    }
    with pytest.raises(ManifestError, match="fold 2: the data set has folds 0, 1"):
        read_dataset(tmp_path, fold=2)
    write_manifest(tmp_path / "dataset.csv", [{**row, "fold": ""} for row in rows])
    with pytest.raises(ManifestError, match="fold 0: the data set has no folds"):
        read_dataset(tmp_path, fold=0)


@pytest.mark.parametrize("text", ["=cmd|'/c calc'!A0", "+1+1", "-x", "@SUM(A1)", "a=b", "-0.5", ""])
def test_no_cell_is_a_formula_and_no_text_changes(tmp_path: Path, text: str) -> None:
    rows = [{"id": "a", "raw": "=a.tif", "reason": text}]
    write_manifest(tmp_path / "table.csv", rows, ("id", "raw", "reason"))
    cells = (tmp_path / "table.csv").read_text().splitlines()[1].replace('"', "").split(",", 2)
    assert not any(cell.startswith(("=", "+", "@")) for cell in cells)
    row = next(iter(read_manifest(tmp_path / "table.csv")))
    assert row["reason"] == text and row.file("raw") == tmp_path / "=a.tif"
