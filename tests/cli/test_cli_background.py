"""`train background=true` starts a process without a terminal and returns."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import pytest

from cytoloop.__main__ import main
from cytoloop.cli.background import LOG_FILE, split_background
from cytoloop.errors import ConfigError
from cytoloop.tracking.lock import find_process, note_process
from cytoloop.tracking.run_status import find_status


def test_the_word_is_taken_out_of_the_command() -> None:
    assert split_background(["a=1", "background=true"]) == (True, ["a=1"])
    assert split_background(["background=False", "b=2"]) == (False, ["b=2"])
    assert split_background(["run_name=background=true"]) == (False, ["run_name=background=true"])
    for words in (["background=perhaps"], ["-m", "background=true"]):
        with pytest.raises(ConfigError):
            split_background(words)


def test_a_wrong_command_fails_before_a_process_starts(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "background=true", "no.such.key=1", "output=m0"]) == 2
    assert "no.such.key" in capfd.readouterr().err
    (project / "m1/checkpoints").mkdir(parents=True)
    (project / "m1/checkpoints/last.ckpt").touch()
    assert main(["train", "background=true", "data.path=ds", "output=m1"]) == 2
    assert "holds a trained model" in capfd.readouterr().err
    assert sorted(path.name for path in project.iterdir()) == ["m1"]


def test_a_training_goes_on_in_the_background_and_is_cancelled(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    start = time.monotonic()
    assert main(["train", "background=true", "data.path=no_such_dataset", "output=m0"]) == 0
    assert time.monotonic() - start < 30
    text = capfd.readouterr().err
    process = find_process("m0")
    assert process is not None and f"process {process.pid}" in text
    child = psutil.Process(process.pid)
    assert os.getsid(child.pid) == child.pid != os.getsid(0)  # no terminal reaches it
    assert find_status("m0", "runs").state == "running"
    assert (
        main(["train", "background=true", "data.path=ds", "output=m0"]) == 2
    )  # one training in a folder
    assert "in use by a training" in capfd.readouterr().err
    for _ in range(1200):  # it ends by itself: there is no such data set
        if find_process("m0") is None:
            break
        time.sleep(0.1)
    assert "no_such_dataset" in (project / "m0" / LOG_FILE).read_text()
    assert find_status("m0", "runs").state == "ended"


def test_a_refused_training_keeps_the_overrides_of_the_first(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("m0/.hydra", "m0/checkpoints"):
        (project / name).mkdir(parents=True)
    (project / "m0/.hydra/overrides.yaml").write_text("- data.path=ds\n")
    note_process("m0", os.getppid())
    assert main(["train", "data.path=other", "output=m0"]) == 2
    assert "in use by a training" in capfd.readouterr().err
    (project / "m0/training.json").unlink()
    (project / "m0/checkpoints/last.ckpt").touch()
    assert main(["train", "data.path=other", "output=m0"]) == 2
    assert "holds a trained model" in capfd.readouterr().err
    assert (project / "m0/.hydra/overrides.yaml").read_text() == "- data.path=ds\n"


def test_the_own_note_is_no_other_training(project: Path) -> None:
    from cytoloop.tracking.lock import lock_training

    (project / "m0").mkdir()
    note_process("m0", os.getpid())
    with lock_training("m0", [], lock=False):
        assert find_process("m0").pid == os.getpid()  # type: ignore[union-attr]
    assert find_process("m0") is None
