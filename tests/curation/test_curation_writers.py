"""Several writers of one data set: no decision and no image is lost."""

from __future__ import annotations

import importlib
import itertools
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from cytoloop.cli.output_lock import lock_output
from cytoloop.curation import CurationSettings, append_decision, curate, read_decisions
from cytoloop.curation.decisions.join import Logs, append_other_logs
from cytoloop.curation.decisions.log import COLUMNS, read_log
from cytoloop.errors import ManifestError, OutputError
from cytoloop.io.file_lock import locked_file
from cytoloop.manifest import read_manifest

curation = importlib.import_module("cytoloop.curation.curate")  # the package has a function curate


def status_of(folder: Path, row_id: str) -> str:
    return {row.id: row for row in read_manifest(folder / "dataset.csv")}[row_id]["status"]


def lines_of(*cells: str) -> list[dict[str, str]]:
    """Return lines of a log from texts ``id decision``."""
    return [dict.fromkeys(COLUMNS, "") | dict(zip(COLUMNS, c.split(), strict=False)) for c in cells]


def append_while_checking(monkeypatch: pytest.MonkeyPatch, log: Path, *ids: str) -> None:
    """Append decisions between the reading of the log and the writing of the data set."""
    assign = curation.assign_splits

    def assign_and_append(*args: Any) -> None:
        for name in ids:
            append_decision(log, {"id": name, "decision": "reject", "curator": "Ann"})
        assign(*args)

    monkeypatch.setattr(curation, "assign_splits", assign_and_append)


def test_decisions_that_arrive_during_a_run_are_kept_and_in_the_next_result(
    images_2d: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder, other = tmp_path / "dataset", tmp_path / "other.csv"
    settings: dict[str, Any] = {"raw": images_2d / "raw", "seg1": images_2d / "seg", "test": 0}
    append_decision(folder / "decisions.csv", {"id": "img_1", "decision": "keep"})
    before = (folder / "decisions.csv").read_bytes()
    append_decision(other, {"id": "img_2", "decision": "reject"})
    append_decision(other, {"id": "img_4", "decision": "reject"})
    with monkeypatch.context() as patch:
        append_while_checking(patch, folder / "decisions.csv", "img_3", "img_4")
        curate(CurationSettings(**settings, output=folder, decisions=other))
    assert "2 decision(s) were added while this run was under way (img_3, img_4)" in caplog.text
    assert (folder / "decisions.csv").read_bytes().startswith(before)
    assert [status_of(folder, f"img_{n}") for n in (2, 3, 4)] == ["reject", "keep", "reject"]
    curate(CurationSettings(output=folder, decisions=other))
    assert [status_of(folder, f"img_{n}") for n in (1, 2, 3)] == ["keep", "reject", "reject"]
    assert read_decisions(folder / "decisions.csv")["img_4"].curator == "Ann"  # the later line


def test_many_writers_of_a_log_lose_no_line(tmp_path: Path) -> None:
    path = tmp_path / "decisions.csv"

    def append(writer: int) -> None:
        for number in range(15):
            append_decision(path, {"id": f"{writer}_{number}", "decision": "keep"})

    threads = [threading.Thread(target=append, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for number in range(15):  # as `curate` does
        given = lines_of(f"given_{number} reject")
        own = read_log(path) if path.exists() else []
        append_other_logs(path, Logs.of([], own, given))
    for thread in threads:
        thread.join()
    ids = [line["id"] for line in read_log(path)]
    expected = {f"{writer}_{number}" for writer in (0, 1, 2, 3, "given") for number in range(15)}
    assert set(ids) == expected
    assert [p.name for p in tmp_path.iterdir()] == ["decisions.csv"]  # no lock is left


def test_a_writer_waits_for_another_one(tmp_path: Path) -> None:
    """The other one may be repairing the last line, or writing the header."""
    path = tmp_path / "decisions.csv"
    writer = threading.Thread(target=append_decision, args=(path, {"id": "a", "decision": "keep"}))
    with locked_file(path):
        writer.start()
        writer.join(0.3)
        assert writer.is_alive() and not path.exists()
    writer.join()
    assert [line["id"] for line in read_log(path)] == ["a"]


@pytest.mark.parametrize(
    ("parent", "own", "given", "last"),
    [
        (["a reject"], ["a keep"], [], {"a": "keep"}),
        (["a reject", "b keep"], ["a keep"], ["a undecided"], {"a": "undecided", "b": "keep"}),
        (["a keep"], [], ["a reject"], {"a": "reject"}),
        (["a keep"], ["a keep"], [], {"a": "keep"}),
    ],
)
def test_appended_logs_count_as_the_joined_logs(
    tmp_path: Path, parent: Sequence[str], own: Sequence[str], given: Sequence[str], last: dict
) -> None:
    path = tmp_path / "decisions.csv"
    for line in lines_of(*own):
        append_decision(path, {k: line[k] for k in ("id", "decision")} | {"time": "1"})
    for _ in range(2):  # the second time nothing is added
        text = path.read_bytes() if path.exists() else b""
        logs = Logs.of(lines_of(*parent), read_log(path) if own else [], lines_of(*given))
        append_other_logs(path, logs)
        assert {k: v.decision for k, v in read_decisions(path).items()} == last
        assert path.read_bytes().startswith(text)
        own = ["any"]
    assert path.read_bytes() == text


def test_a_log_without_a_column_refuses_lines_that_need_it(images_2d: Path, tmp_path: Path) -> None:
    folder, other = tmp_path / "dataset", tmp_path / "other.csv"
    folder.mkdir()
    (folder / "decisions.csv").write_text("id,decision\nimg_1,keep\n")
    append_decision(other, {"id": "img_2", "exclude": "saturated"})
    settings = CurationSettings(
        raw=images_2d / "raw", seg1=images_2d / "seg", output=folder, decisions=other
    )
    with pytest.raises(ManifestError, match="has no column exclude, time") as error:
        curate(settings)
    assert "Make its first line id,decision,exclude,time;" in str(error.value)
    assert (folder / "decisions.csv").read_text() == "id,decision\nimg_1,keep\n"


def test_a_full_disk_leaves_the_log_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limited_files: Callable[[int], Any]
) -> None:
    path = tmp_path / "decisions.csv"
    append_decision(path, {"id": "a", "decision": "keep"})
    before = path.read_bytes()
    with limited_files(len(before) + 10), pytest.raises(OSError):
        append_decision(path, {"id": "b", "decision": "keep"})
    assert path.read_bytes() == before


_FILLING, _REPLACING = ("curate", "predict", "evaluate", "compare"), ("annotate", "models")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        *itertools.product(_FILLING, _FILLING),
        *itertools.product(_REPLACING, _REPLACING),  # these refuse a folder that is not empty
    ],
)
def test_two_verbs_do_not_write_one_folder(tmp_path: Path, first: str, second: str) -> None:
    cfg = _Config(output=str(tmp_path / "out"), action="export")
    with (
        lock_output(first, cfg),
        pytest.raises(OutputError, match=rf"cytoloop {first} \(process \d+\) is writing"),
        lock_output(second, cfg),
    ):
        pass
    with lock_output(second, cfg):
        pass
    assert not list(tmp_path.iterdir())  # the empty folder and the lock are removed


class _Config(dict):
    """A config whose keys are attributes; keys that are not set are None."""

    def __getattr__(self, name: str) -> Any:
        return self.get(name)
