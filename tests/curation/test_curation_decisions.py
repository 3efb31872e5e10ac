"""The decisions log: later lines override earlier ones, and spreadsheets can edit it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cytoloop.curation.decisions.latest import Decision, read_decisions, unknown_ids
from cytoloop.curation.decisions.log import COLUMNS, append_decision, read_log
from cytoloop.errors import ManifestError


def log_of(folder: Path, *lines: str, header: str = ",".join(COLUMNS)) -> Path:
    path = folder / "decisions.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def test_decisions_later_lines_override_earlier_ones(tmp_path: Path) -> None:
    path = log_of(
        tmp_path,
        "a,reject,,,,blurred,Ann,2026-01-01",
        "b,keep,,,,,Ann,",
        "a,keep,,,,fine after all,Bob,",
        "b,undecided,,,,,Bob,",
    )
    found = read_decisions(path)
    assert found["a"] == Decision("keep", reason="fine after all", curator="Bob")
    assert found["b"].decision == "undecided"


def test_decisions_empty_cells_change_nothing(tmp_path: Path) -> None:
    path = log_of(
        tmp_path,
        "a,reject,seg2,m/x.npy,,blurred,Ann,",
        "a,,,saturated; y.tif,,debris,Bob,",
        "a,,none,,z.npy,,,",
    )
    decision = read_decisions(path)["a"]
    assert (decision.decision, decision.reason, decision.curator) == ("reject", "blurred", "Ann")
    assert decision.base_image == ""
    assert decision.exclude == ("saturated", str(tmp_path / "y.tif"))
    assert decision.merge == (str(tmp_path / "z.npy"),)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_decisions_as_spreadsheets_save_them(tmp_path: Path, delimiter: str, ending: str) -> None:
    path = tmp_path / "decisions.csv"
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator=ending)
        writer.writerow(["ID", "Decision", "reason", "exclude"])
        writer.writerow(["a", "REJECT", "dirt, and a crack; both", "one.npy; two.npy"])
        writer.writerow(["", "", "", ""])
    decision = read_decisions(path)["a"]
    assert (decision.decision, decision.reason) == ("reject", "dirt, and a crack; both")
    assert [Path(part).name for part in decision.exclude] == ["one.npy", "two.npy"]


def test_decisions_lists_all_wrong_words(tmp_path: Path) -> None:
    path = log_of(
        tmp_path, "a,yes,,,,,,", ",keep,,,,,,", "b,keep,seg3,,,,,", "c,,,,saturated,,,", "d,,,,,,,"
    )
    with pytest.raises(ManifestError) as caught:
        read_decisions(path)
    assert caught.value.problems == [
        "row 1 (a), column 'decision': 'yes'; expected keep, reject, undecided",
        "row 2: has no id",
        "row 3 (b), column 'base_image': 'seg3'; expected seg1, seg2 or none",
        "row 4 (c), column 'merge': saturated is a rule; merging regions must be files",
    ]


def test_decisions_refuse_other_files(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such decisions log"):
        read_decisions(tmp_path / "none.csv")
    with pytest.raises(ManifestError, match="has no column id or decision"):
        read_decisions(log_of(tmp_path, "a,keep", header="name,verdict"))
    (tmp_path / "decisions.csv").write_bytes(b"id,decision\n\xfc\x81,keep\n")
    with pytest.raises(ManifestError, match="is not a CSV file"):
        read_decisions(tmp_path / "decisions.csv")
    (tmp_path / "decisions.csv").write_text("")
    assert read_decisions(tmp_path / "decisions.csv") == {}


def test_decisions_append_creates_a_log_and_only_adds_lines(tmp_path: Path) -> None:
    path = tmp_path / "new" / "decisions.csv"
    append_decision(path, {"id": "a", "decision": "reject", "reason": "two\nlines, and ;"})
    first = path.read_text()
    append_decision(path, {"id": "a", "decision": "keep", "time": "now"})
    assert path.read_text().startswith(first)
    assert read_decisions(path)["a"].decision == "keep"
    assert first.splitlines()[0] == ",".join(COLUMNS) and "+00:00" in first


def test_decisions_append_to_a_log_of_a_spreadsheet_with_an_open_line(tmp_path: Path) -> None:
    path = tmp_path / "decisions.csv"
    path.write_text("decision;id\nkeep;a\nreject;b")  # no line end: a crash, or an editor
    append_decision(path, {"id": "c", "decision": "reject"})
    assert {k: v.decision for k, v in read_decisions(path).items()} == {
        "a": "keep",
        "b": "reject",
        "c": "reject",
    }


def test_decisions_append_writes_nothing_with_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "decisions.csv"
    with pytest.raises(ManifestError) as caught:
        append_decision(path, {"decision": "perhaps", "verdict": "x"})
    assert caught.value.problems == [
        "has no column 'verdict'",
        "column 'decision': 'perhaps'; expected keep, reject, undecided",
        "the decision has no id",
    ]
    assert not path.exists()


def test_decisions_about_unknown_ids_suggest_similar_ids() -> None:
    ids = ["0012", "img_1", "img_2"]
    assert unknown_ids(["12", "img_1", "imgg_2", "zzz"], ids) == [
        "12 (did you mean 0012?)",
        "imgg_2 (did you mean img_2?)",
        "zzz",
    ]


WORDS = st.sampled_from(["", "keep", "reject", "undecided"])
LINES = st.lists(st.tuples(st.sampled_from("abc"), WORDS, st.text(max_size=8)), max_size=12)


@settings(max_examples=40, deadline=None)
@given(LINES)
def test_decisions_appended_one_by_one_give_the_last_decision(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[str, str, str]]
) -> None:
    path = tmp_path_factory.mktemp("log") / "decisions.csv"
    for name, decision, reason in lines:
        append_decision(path, {"id": name, "decision": decision, "reason": reason})
    last = {name: decision for name, decision, _ in lines if decision}
    found = read_decisions(path) if lines else {}
    assert {n: v.decision for n, v in found.items() if n in last} == last
    assert set(found) == {name for name, _, _ in lines}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("first", ["", "sep=;\n"])
def test_a_log_as_spreadsheets_write_it(encoding: str, first: str, tmp_path: Path) -> None:
    path = tmp_path / "decisions.csv"
    path.write_bytes(f"{first}ID;Decision;reason\nZelle \u00fc;reject;blurred\n".encode(encoding))
    (line,) = read_log(path)
    assert (line["id"], line["decision"]) == ("Zelle \u00fc", "reject")
    append_decision(path, {"id": "b", "decision": "keep"})
    assert [line["id"] for line in read_log(path)] == ["Zelle \u00fc", "b"]
    if encoding == "cp1252":
        with pytest.raises(ManifestError, match="is cp1252 text, which has no"):
            append_decision(path, {"id": "\u4e2d", "decision": "keep"})
    else:
        append_decision(path, {"id": "\u4e2d", "decision": "keep"})
        assert read_log(path)[2]["id"] == "\u4e2d"


def test_ids_of_a_log_are_compared_in_one_unicode_form(tmp_path: Path) -> None:
    path = tmp_path / "decisions.csv"
    path.write_text("id,decision\nZelle u\u0308,reject\n", encoding="utf-8")
    assert read_log(path)[0]["id"] == "Zelle \u00fc"


def test_sources_takes_back_the_regions_of_decisions_only(tmp_path: Path) -> None:
    lines = ["a,,x.npy; y.npy,m.npy", "a,,sources,", "a,,,sources; n.npy"]
    path = log_of(tmp_path, *lines, header="id,decision,exclude,merge")
    decision = read_decisions(path)["a"]
    assert decision.exclude == ()
    assert decision.merge == (str(tmp_path / "n.npy"),)


def test_corrected_labels_are_decided_and_taken_back(tmp_path: Path) -> None:
    path = log_of(tmp_path, "a,,c/a.tif", "b,,b.tif", "b,,none", header="id,decision,labels")
    assert read_decisions(path)["a"].labels == str(tmp_path / "c" / "a.tif")
    assert read_decisions(path)["b"].labels == ""
    path = log_of(tmp_path, '"a",,"a.tif; b.tif"', header="id,decision,labels")
    with pytest.raises(ManifestError, match="expected one label image or none"):
        read_decisions(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_log_without_a_column_gets_it_and_loses_nothing(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "decisions.csv"
    path.write_bytes("id;decision;reason\r\nü;reject;ab\r\n".encode(encoding))
    append_decision(path, {"id": "ü", "labels": "corrected/ü.ome.tif"})
    found = read_decisions(path)["ü"]
    assert (found.decision, found.reason) == ("reject", "ab")
    assert found.labels == str(tmp_path / "corrected" / "ü.ome.tif")
