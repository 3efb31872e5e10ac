"""Tables in the forms that spreadsheets and other systems write."""

from __future__ import annotations

import logging
import unicodedata
from pathlib import Path

import pytest
from openpyxl import Workbook

from cytoloop.curation import CurationSettings, curate
from cytoloop.errors import ManifestError
from cytoloop.evaluation.inputs.pairing import pair_rows
from cytoloop.inference.inputs.list_inputs import list_inputs
from cytoloop.manifest import is_table, read_dataset, read_manifest, read_table

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252", "utf-16-le", "utf-16-be")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("first", ["", "sep=X\n", '"sep=X"\n'])
def test_every_encoding_delimiter_and_line_end(
    encoding: str, delimiter: str, newline: str, first: str, tmp_path: Path
) -> None:
    text = f"{first}RAW X seg1 X group\nZelle \u00fc.tifXs/b.tifX'A (1)'\n\nXX\nc.tifXd.tifX\n"
    text = text.replace("X", delimiter).replace("\n", newline)
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    rows = read_manifest(tmp_path / "t.csv", ("raw", "seg1")).rows
    assert [row["raw"] for row in rows] == ["Zelle \u00fc.tif", "c.tif"]
    assert [row["seg1"] for row in rows] == ["s/b.tif", "d.tif"]
    assert rows[0]["group"] == "'A (1)'"


def test_cp1252_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "t.csv").write_bytes("raw\n\u00fc.tif\n".encode("cp1252"))
    with caplog.at_level(logging.WARNING):
        read_manifest(tmp_path / "t.csv")
    assert "read as cp1252" in caplog.text


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (" Raw, SEG1 ,Donor", ["raw", "seg1", "Donor"]),
        ("raw,Raw", ["raw", "Raw"]),
        ("Raw,Exclude Mask,Spacing um,Time", ["raw", "exclude_mask", "spacing_um", "time"]),
        ("raw,seg_type,excl_mask", ["raw", "base_image", "exclude_mask"]),
        ("raw,seg_type,base_image", ["raw", "seg_type", "base_image"]),
    ],
)
def test_capitals_and_blanks_in_headers(header: str, expected: list[str], tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(header + "\n" + ",".join("abcd"[: len(expected)]) + "\n")
    _, columns, (record,) = read_table(tmp_path / "t.csv")
    assert columns == expected and list(record.values()) == list("abcd"[: len(expected)])


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("Raw,RAW\na,b\n", "has the column 'raw' twice"),
        ("raw,seg1\na, b.tif,c.tif\n", "row 1 has 3 cells, but the first line names 2 columns"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(text: str, match: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ManifestError, match=match):
        read_table(tmp_path / "t.csv")


def excel(path: Path, *rows: list[object], sheets: int = 1) -> Path:
    book = Workbook()
    assert book.active is not None
    for row in rows:
        book.active.append(row)
    for number in range(1, sheets):
        book.create_sheet(f"notes {number}")
        book.worksheets[-1].append(["note"])
    book.save(path)
    return path


def test_excel_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    header = ["Raw", "seg1", "time", "group", "status"]
    path = excel(
        tmp_path / "t.XLSX",
        header,
        ["a \u00fc.tif", "s.tif", 3, 1.0, None],
        [None] * 5,
        ["b.tif", "s.tif", None, 0.5, "keep"],
        sheets=2,
    )
    with caplog.at_level(logging.WARNING):
        rows = read_manifest(path, ("raw", "seg1")).rows
    cells = [[row[name] for name in ("raw", "time", "group", "status")] for row in rows]
    assert cells == [["a \u00fc.tif", "3", "1", ""], ["b.tif", "", "0.5", "keep"]]
    assert "read the first sheet" in caplog.text
    assert [row.id for row in list_inputs(path)] == ["a \u00fc", "b"]
    assert len(read_dataset(path)["train"]) == 2


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("t.xlsx", b"no zip", "is not an Excel file"),
        ("t.xls", b"old", r"is a \.xls file, which is not read\nSave it as"),
        ("t.ods", b"", r"is a \.ods file"),
        ("t.csv", b"raw\n\x81\x8d", "is not a CSV file"),
    ],
)
def test_other_tables_are_refused(name: str, content: bytes, match: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert is_table(name)
    with pytest.raises(ManifestError, match=match):
        read_table(tmp_path / name)


def test_paths_are_found_under_other_spellings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    work, tables = tmp_path / "work", tmp_path / "tables"
    umlaut = unicodedata.normalize("NFC", "\u00fc.tif")
    for file in (work / "in/a.tif", tables / "in/b.tif", tables / umlaut, work / "in/b.tif"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    monkeypatch.chdir(work)
    table = tables / "t.csv"
    nfd = unicodedata.normalize("NFD", umlaut)
    table.write_text(f"raw,seg1\nin/a.tif,in\\b.tif\nin/b.tif,{nfd}\ngone.tif,C:\\x.tif\n", "utf-8")
    with caplog.at_level(logging.WARNING):
        first, second, third = read_manifest(table)
    assert (first.file("raw"), first.file("seg1")) == (work / "in/a.tif", tables / "in/b.tif")
    assert (second.file("raw"), second.file("seg1")) == (tables / "in/b.tif", tables / umlaut)
    assert (third["raw"], third["seg1"]) == ("gone.tif", "C:\\x.tif")
    assert "1 relative path(s) lead to no file from the folder of the table" in caplog.text


def test_tables_with_backslashes_are_read_by_predict(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.tif").touch()
    (tmp_path / "t.csv").write_text("Image Path\nin\\a.tif\n")
    (row,) = list_inputs(tmp_path / "t.csv")
    assert row.file("raw") == tmp_path / "in/a.tif"


@pytest.mark.parametrize("name", ["backslashes", "header_case", "sep_line", "utf16"])
def test_the_tables_of_the_shared_cases_are_curated(
    name: str, real_data: Path, tmp_path: Path
) -> None:
    table = real_data / "cases" / "09_tables" / f"{name}.csv"
    result = curate(CurationSettings(raw=table, output=tmp_path / "ds", leakage="allow"))
    assert [row.id for row in result.rows] == ["f0", "f1", "f2"]


def test_an_excel_file_is_curated_and_scored(images_2d: Path, tmp_path: Path) -> None:
    names = [f"img_{number}" for number in range(5)]
    rows = [[f"raw\\{name}.tif", f"seg\\{name}.tif", name] for name in names]
    table = excel(images_2d / "t.xlsx", ["Raw", "Seg1", "ID"], *rows)
    result = curate(CurationSettings(raw=table, output=tmp_path / "ds"))
    assert [row.id for row in result.rows] == names
    assert len(pair_rows(images_2d / "seg", table).pairs) == 5
