"""The lock of an accelerator, the status of trainings, and cancelling."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from cytoloop.__main__ import main
from cytoloop.errors import ConfigError, ModelError
from cytoloop.tracking.live_view import render_status
from cytoloop.tracking.lock import (
    NOTE_FILE,
    find_process,
    list_processes,
    lock_devices,
    lock_training,
    state_folder,
)
from cytoloop.tracking.output_folder import write_final_scores
from cytoloop.tracking.resume import add_training_folder
from cytoloop.tracking.run_status import RunStatus, cancel_training, find_status, list_statuses

RUN = "0123456789abcdef" * 2
HOLD = """
import sys, time
from cytoloop.tracking.lock import lock_training
with lock_training(sys.argv[1], ["cpu"]) as set_run_id:
    set_run_id(sys.argv[2])
    try: time.sleep(60)
    except KeyboardInterrupt: pass
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CYTOLOOP_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def other(project: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Return a function that starts another process, which trains into ``m0``."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        (project / "m0").mkdir(exist_ok=True)
        code = "import signal; signal.signal(15, signal.default_int_handler)\n" + HOLD
        process = subprocess.Popen([sys.executable, "-c", code, "m0", RUN])
        started.append(process)
        for _ in range(600):
            found = find_process("m0")
            if found is not None and found.run_id:
                return process
            time.sleep(0.05)
        raise AssertionError("the other process did not start")

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_second_training_is_refused_and_the_first_is_named(
    project: Path, other: Callable[[], subprocess.Popen[bytes]]
) -> None:
    process = other()
    with pytest.raises(ConfigError) as error, lock_training("m1", ["cpu"]):
        pass
    for part in (f"process {process.pid}", RUN, str(project / "m0"), "status", "cancel"):
        assert part in str(error.value)
    with lock_training("m1", ["mps"]), lock_training("m2", ["cpu"], lock=False):
        assert {h.folder for h in list_processes()} == {str(project / m) for m in ("m0", "m1")}
    with (
        pytest.raises(ConfigError, match="in use by a training"),
        lock_training("m0", [], lock=False),
    ):
        pass
    process.kill()  # a killed process cannot release its lock
    process.wait()
    assert find_process("m0") is None and list_processes() == []
    with lock_training("m0", ["cpu"]) as name:
        name(RUN)
        assert find_process("m0").run_id == RUN  # type: ignore[union-attr]
    assert not (project / "m0" / NOTE_FILE).exists()


def test_a_study_that_holds_the_lock_is_named(
    project: Path, other: Callable[[], subprocess.Popen[bytes]]
) -> None:
    process = other()
    (project / "m0/study.json").write_text("{}")
    repair = f"in use by a study: process {process.pid}.*\n.*lock=false"
    with pytest.raises(ConfigError, match=repair), lock_devices("s2", ["cpu"]):
        pass


def test_a_process_with_a_reused_id_is_not_the_holder(project: Path) -> None:
    with lock_training("m0", ["cpu"]):
        note = json.loads((project / "m0" / NOTE_FILE).read_text())
    note["started"] -= 1000
    (project / "m0").mkdir()  # an empty folder is removed with the lock
    (project / "m0" / NOTE_FILE).write_text(json.dumps(note))
    assert note["pid"] == os.getpid() and find_process("m0") is None
    (project / "m0" / NOTE_FILE).write_text("{")
    assert find_process("m0") is None


def test_the_lock_is_released_after_an_error(project: Path) -> None:
    for number in range(2):
        with pytest.raises(ZeroDivisionError), lock_training(f"m{number}", ["cpu"]):
            raise ZeroDivisionError
    assert list_processes() == []


def test_further_machines_of_a_training_lock_only_their_devices(project: Path) -> None:
    with lock_devices("m0", ["cpu"]) as name_run:
        name_run("a" * 32)
        (process,) = list_processes()
        assert (process.run_id, process.folder) == ("a" * 32, str(project / "m0"))
        assert not (project / "m0" / NOTE_FILE).exists()  # it is that of the first process
        with pytest.raises(ConfigError, match="cpu: in use"), lock_devices("m1", ["cpu"]):
            pass
    assert list_processes() == []


def test_a_lock_that_cannot_be_written_is_refused(project: Path) -> None:
    (project / "state").write_text("a file")
    with pytest.raises(ConfigError, match="cannot be written"), lock_training("m0", ["cpu"]):
        pass


def write_progress(folder: Path, *lines: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "progress.jsonl").open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


STEP = {
    "event": "step",
    "epoch": 1,
    "epochs": 9,
    "step": 20,
    "loss": 0.5,
    "dice": 0.7,
    "spent": 0.4,
    "seconds_left": 120,
}
CHECK = {"event": "validation", "epoch": 1, "epochs": 9, "step": 24, "spent": 0.5} | {
    "scores": {"val/dice": 0.8}
}


def test_locks_lie_in_the_temporary_folder_where_no_home_can_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("CYTOLOOP_STATE", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert state_folder() == tmp_path / ".local/state/cytoloop"
    monkeypatch.setenv("HOME", f"{os.devnull}/home")
    assert state_folder().parent == Path(tempfile.gettempdir())


def test_status_reads_the_files_of_trainings(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["status"]) == 0
    assert "no trainings in this folder" in capfd.readouterr().err
    for name in ("a", "b"):
        write_progress(project / name, STEP, CHECK)
        add_training_folder(project / name, "runs")
    (project / "a" / "finished").touch()
    (project / "b" / "run_id").write_text(RUN)
    one = find_status(RUN[:8], "runs")
    assert (one.state, one.loss, one.dice, one.best_score()) == ("ended", 0.5, 0.7, 0.8)
    assert one.epoch_text == "2/9"
    with (project / "b" / "progress.jsonl").open("a") as file:
        file.write('{"event": "st')
    assert one.update().last_event == CHECK
    with (project / "b" / "progress.jsonl").open("a") as file:
        file.write('ep", "loss": 0.25}\n')
    assert one.update().loss == 0.25
    assert {s.folder.name: s.state for s in list_statuses("runs")} == {
        "a": "finished",
        "b": "ended",
    }
    assert main(["status"]) == 0
    table = capfd.readouterr().out
    assert "finished" in table and "0.8000" in table and RUN[:8] in table
    assert not (project / "runs" / "status").exists()  # status writes nothing
    assert main(["status", "run=nowhere"]) == 2
    assert "no such training" in capfd.readouterr().err
    assert main(["status", "max_rows=0"]) == 2
    with pytest.raises(ModelError, match="no such training"):
        find_status("0123", "runs")  # too short to be an id


def lines_of_view(one: RunStatus, width: int) -> list[str]:
    """Return the lines of the live view on a terminal of that width."""
    console = Console(width=width, record=True, file=io.StringIO(), color_system=None)
    console.print(render_status(one, width))
    return [line.rstrip() for line in console.export_text().splitlines()]


@pytest.mark.parametrize("width", [50, 60, 80, 120])
def test_the_live_view_fits_the_terminal(project: Path, width: int) -> None:
    names = ("loss", "loss_seg", "loss_distance", "dice", "iou", "f1_50", "ap_50", "seg", "pq")
    scores = {f"val/{name}": 0.123456 for name in names}
    lines = [{**CHECK, "epoch": 998, "step": 123456, "scores": scores}] * 12
    write_progress(project / "m0", {**STEP, "data_wait": 0.2}, *lines)
    one = RunStatus(project / "m0")
    view = lines_of_view(one, width)
    assert max(map(len, view)) <= width and len(view) == 12  # 8 validations, no line is wrapped
    heads = view[2].split()
    assert heads[:3] == ["epoch", "step", "dice"] and not [h for h in heads if "…" in h]
    assert ("loss_distance" in heads) == (width == 120)
    assert all(line.split()[2:] == ["0.1235"] * (len(heads) - 2) for line in view[4:])


def test_the_view_of_a_finished_training_has_its_final_scores(project: Path) -> None:
    write_progress(project / "m0", STEP, CHECK)
    one = RunStatus(project / "m0")
    assert one.final_scores == {} and "final" not in lines_of_view(one, 80)[-1]
    final = {"val/dice": 0.9, "test/dice": 0.8, "test/f1_50": 0.7, "test/hd95": 3.0}
    write_final_scores(project / "m0", final)
    assert one.state == "finished" and one.final_scores == final
    assert (
        lines_of_view(one, 80)[-1] == "final  val/dice 0.9000  test/dice 0.8000  test/f1_50 0.7000"
    )
    (project / "m0" / "finished").write_text("")  # as earlier versions wrote it
    assert one.final_scores == {} and one.state == "finished"


def test_a_training_is_watched_and_cancelled_from_another_terminal(
    project: Path, other: Callable[[], subprocess.Popen[bytes]], capfd: pytest.CaptureFixture[str]
) -> None:
    process = other()
    write_progress(project / "m0", STEP)
    command = [sys.executable, "-m", "cytoloop", "status", "watch=true"]
    watching = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert watching.stderr is not None and "watching" in watching.stderr.readline()
    write_progress(project / "m0", CHECK)
    assert "epoch 2  step 24  val/dice 0.8000" in watching.stderr.readline()
    assert main(["cancel", f"run={RUN}"]) == 0
    text = capfd.readouterr().err
    assert "stopped; no epoch was finished, so there is nothing to resume" in text
    process.wait(10)
    assert watching.wait(30) == 0  # the view ends with the training
    assert main(["cancel", "run=m0"]) == 2
    assert "no training runs in this folder" in capfd.readouterr().err


def test_a_training_on_another_machine_is_not_cancelled(project: Path) -> None:
    with lock_training("m0", ["cpu"]):
        note = json.loads((project / "m0" / NOTE_FILE).read_text())
    (project / "m0").mkdir()  # an empty folder is removed with the lock
    (project / "m0" / NOTE_FILE).write_text(json.dumps({**note, "host": "elsewhere"}))
    with pytest.raises(ConfigError, match="runs on elsewhere"):
        list(cancel_training(RunStatus(project / "m0")))
