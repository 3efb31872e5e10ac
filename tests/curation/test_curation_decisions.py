"""The decisions log: the last word wins, spreadsheets may edit it, and nothing of it is lost."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cytoloop.curation.decisions.latest import Verdict, read_decisions, unknown_ids
from cytoloop.curation.decisions.log import COLUMNS, append_decision
from cytoloop.errors import ManifestError


def log_of(folder: Path, *lines: str, header: str = ",".join(COLUMNS)) -> Path:
    path = folder / "decisions.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def test_decisions_last_word_wins_and_undo_is_a_line(tmp_path: Path) -> None:
    path = log_of(
        tmp_path,
        "a,reject,,,,blurred,Ann,2026-01-01",
        "b,keep,,,,,Ann,",
        "a,keep,,,,fine after all,Bob,",
        "b,undecided,,,,,Bob,",
    )
    found = read_decisions(path)
    assert found["a"] == Verdict("keep", reason="fine after all", curator="Bob")
    assert found["b"].decision == "undecided"


def test_decisions_empty_cells_leave_a_matter_as_it_was(tmp_path: Path) -> None:
    path = log_of(
        tmp_path,
        "a,reject,seg2,m/x.npy,,blurred,Ann,",
        "a,,,saturated; y.tif,,debris,Bob,",
        "a,,none,,z.npy,,,",
    )
    verdict = read_decisions(path)["a"]
    assert (verdict.decision, verdict.reason, verdict.curator) == ("reject", "blurred", "Ann")
    assert verdict.base_image == ""
    assert verdict.exclude == ("saturated", str(tmp_path / "y.tif"))
    assert verdict.merge == (str(tmp_path / "z.npy"),)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_decisions_as_spreadsheets_save_them(tmp_path: Path, delimiter: str, ending: str) -> None:
    path = tmp_path / "decisions.csv"
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator=ending)
        writer.writerow(["ID", "Decision", "reason", "exclude"])
        writer.writerow(["a", "REJECT", "dirt, and a crack; both", "one.npy; two.npy"])
        writer.writerow(["", "", "", ""])
    verdict = read_decisions(path)["a"]
    assert (verdict.decision, verdict.reason) == ("reject", "dirt, and a crack; both")
    assert [Path(part).name for part in verdict.exclude] == ["one.npy", "two.npy"]


def test_decisions_wrong_words_are_told_at_once(tmp_path: Path) -> None:
    path = log_of(
        tmp_path, "a,yes,,,,,,", ",keep,,,,,,", "b,keep,seg3,,,,,", "c,,,,saturated,,,", "d,,,,,,,"
    )
    with pytest.raises(ManifestError) as caught:
        read_decisions(path)
    assert caught.value.problems == [
        "row 1 (a), column 'decision': 'yes'; expected keep, reject, undecided",
        "row 2: has no id",
        "row 3 (b), column 'base_image': 'seg3'; expected seg1, seg2 or none",
        "row 4 (c), column 'merge': saturated is a rule; merging regions are drawn",
    ]


def test_decisions_refuse_what_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such decisions log"):
        read_decisions(tmp_path / "none.csv")
    with pytest.raises(ManifestError, match="has no column id or decision"):
        read_decisions(log_of(tmp_path, "a,keep", header="name,verdict"))
    (tmp_path / "decisions.csv").write_bytes(b"id,decision\n\xff\xfe,keep\n")
    with pytest.raises(ManifestError, match="is no UTF-8 text"):
        read_decisions(tmp_path / "decisions.csv")
    (tmp_path / "decisions.csv").write_text("")
    assert read_decisions(tmp_path / "decisions.csv") == {}


def test_decisions_append_makes_a_log_and_only_adds(tmp_path: Path) -> None:
    path = tmp_path / "new" / "decisions.csv"
    append_decision(path, {"id": "a", "decision": "reject", "reason": "two\nlines, and ;"})
    first = path.read_text()
    append_decision(path, {"id": "a", "decision": "keep", "time": "now"})
    assert path.read_text().startswith(first)
    assert read_decisions(path)["a"].decision == "keep"
    assert first.splitlines()[0] == ",".join(COLUMNS) and "+00:00" in first


def test_decisions_append_to_a_spreadsheets_log_and_after_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "decisions.csv"
    path.write_text("decision;id\nkeep;a\nreject;b")  # no line end: a crash, or an editor
    append_decision(path, {"id": "c", "decision": "reject"})
    assert {k: v.decision for k, v in read_decisions(path).items()} == {
        "a": "keep",
        "b": "reject",
        "c": "reject",
    }


def test_decisions_append_refuses_and_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "decisions.csv"
    with pytest.raises(ManifestError) as caught:
        append_decision(path, {"decision": "perhaps", "verdict": "x"})
    assert caught.value.problems == [
        "has no column 'verdict'",
        "column 'decision': 'perhaps'; expected keep, reject, undecided",
        "the decision has no id",
    ]
    assert not path.exists()


def test_decisions_about_strangers_suggest_who_is_meant() -> None:
    ids = ["0012", "img_1", "img_2"]
    assert unknown_ids(["12", "img_1", "imgg_2", "zzz"], ids) == [
        "12 (is 0012 meant?)",
        "imgg_2 (is img_2 meant?)",
        "zzz",
    ]


WORDS = st.sampled_from(["", "keep", "reject", "undecided"])
LINES = st.lists(st.tuples(st.sampled_from("abc"), WORDS, st.text(max_size=8)), max_size=12)


@settings(max_examples=40, deadline=None)
@given(LINES)
def test_decisions_written_one_by_one_say_what_was_said_last(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[str, str, str]]
) -> None:
    path = tmp_path_factory.mktemp("log") / "decisions.csv"
    for name, decision, reason in lines:
        append_decision(path, {"id": name, "decision": decision, "reason": reason})
    said = {name: decision for name, decision, _ in lines if decision}
    found = read_decisions(path) if lines else {}
    assert {n: v.decision for n, v in found.items() if n in said} == said
    assert set(found) == {name for name, _, _ in lines}
