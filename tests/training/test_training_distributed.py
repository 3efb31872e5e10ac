"""What the first process hands to the others, and how they end; the others are threads here."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.fabric.plugins.environments import LightningEnvironment
from omegaconf import DictConfig, OmegaConf
from torch.distributed import DistNetworkError, TCPStore

from cytoloop.errors import ManifestError, ModelError
from cytoloop.training import distributed
from cytoloop.training.distributed import Group, join_training, leading, with_other_processes
from cytoloop.training.watch import Watch


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[TCPStore]:
    """The store of the first process, which the variables of Lightning's launcher name."""
    hosted = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(hosted.port))
    monkeypatch.setenv("LOCAL_RANK", "1")
    yield hosted


class Other(threading.Thread):
    """Process 1 of a training, as a thread."""

    def __init__(self, run: Callable[[DictConfig], Any]) -> None:
        super().__init__(daemon=True)
        self.work, self.status = run, -1
        self.start()

    def run(self) -> None:
        self.status = join_training(LightningEnvironment(), self.work)

    def ended(self) -> int:
        self.join(30)
        return self.status


def config(tmp_path: Path) -> str:
    trainer = {"accelerator": "cpu", "devices": 2}
    values = {"paths": {"output_dir": str(tmp_path)}, "logger": {"mlflow": 1}, "trainer": trainer}
    return OmegaConf.to_yaml(OmegaConf.create(values))


def test_the_others_get_the_config_without_loggers(store: TCPStore, tmp_path: Path) -> None:
    found: list[DictConfig] = []
    other, group = Other(found.append), Group(store, 2)
    assert other.is_alive()
    group.send("cytoloop/config", config=config(tmp_path))
    group.wait_until_ready()
    assert other.ended() == 0 and group.failures() == {}
    assert found[0].paths.output_dir == str(tmp_path) and found[0].logger is None
    assert (tmp_path / "process-1.log").is_file()


def test_the_others_end_when_the_first_ends_before_the_training(
    store: TCPStore, capfd: pytest.CaptureFixture[str]
) -> None:
    other = Other(lambda cfg: pytest.fail("trained"))
    Group(store, 2).end()  # waits until the other has read it
    assert other.ended() == 2
    assert "process 1: the first process ended before the training" in capfd.readouterr().err


@pytest.mark.slow
def test_the_others_end_when_the_first_is_killed(capfd: pytest.CaptureFixture[str]) -> None:
    program = (
        "import torch.distributed as d, time\n"
        "store = d.TCPStore('127.0.0.1', 0, is_master=True, wait_for_workers=False)\n"
        "print(store.port, flush=True)\ntime.sleep(600)"
    )
    first = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    pipe: Any = first.stdout
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MASTER_PORT", pipe.readline().strip())
        patch.setenv("LOCAL_RANK", "1")
        other = Other(lambda cfg: pytest.fail("trained"))
        other.join(2)
        first.kill()
        first.wait()
        pipe.close()
        assert other.ended() == 2
    assert "process 1: the first process has ended" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("error", "status"), [(ManifestError("a.csv", "row 3 is empty"), 2), (ValueError("no"), 1)]
)
def test_the_first_raises_the_failure_of_another(
    store: TCPStore, tmp_path: Path, error: Exception, status: int
) -> None:
    def fail(cfg: DictConfig) -> None:
        raise error

    other, group = Other(fail), Group(store, 2)
    group.send("cytoloop/config", config=config(tmp_path))
    assert other.ended() == status
    with pytest.raises(ModelError, match=rf"process 1: {error}\n.*process-1.log"):
        group.wait_until_ready()


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(1)])
def test_another_process_that_is_stopped_has_not_failed(
    store: TCPStore, tmp_path: Path, stop: BaseException
) -> None:
    def run(cfg: DictConfig) -> None:
        raise stop

    other, group = Other(run), Group(store, 2)
    group.send("cytoloop/config", config=config(tmp_path))
    assert other.ended() == 0 and group.failures() == {}


def test_a_lost_connection_is_not_reported_as_the_cause(store: TCPStore, tmp_path: Path) -> None:
    def run(cfg: DictConfig) -> None:
        raise RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer")

    other, group = Other(run), Group(store, 2)
    group.send("cytoloop/config", config=config(tmp_path))
    assert other.ended() == 2 and group.failures() == {}


def test_a_process_that_does_not_start_is_an_error(
    store: TCPStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "_READY_TIMEOUT", 0.1)
    with pytest.raises(ModelError, match="process 1, 2: is not ready"):
        Group(store, 3).wait_until_ready()


def test_processes_that_do_not_find_each_other_are_an_error(
    store: TCPStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "_CONNECT_TIMEOUT", timedelta(seconds=1))
    monkeypatch.setenv("MASTER_PORT", "1")
    with pytest.raises(ModelError, match="do not find each other"), leading(LightningEnvironment()):
        pass


def trainer(*processes: subprocess.Popen[bytes], folder: str = "model") -> Any:
    launcher = SimpleNamespace(procs=list(processes))
    strategy = SimpleNamespace(launcher=launcher)
    return SimpleNamespace(world_size=2, strategy=strategy, default_root_dir=folder)


def process(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code])


def test_a_killed_process_is_named_and_the_environment_restored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(distributed, "_REPORT_TIMEOUT", 0.5)
    monkeypatch.delenv("MASTER_PORT", raising=False)
    killed = process("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    waiting = process("import time; time.sleep(600)")
    fit = trainer(killed, waiting)
    pattern = r"process 1 ended with signal SIGKILL\n.*train resume=model"
    with pytest.raises(ModelError, match=pattern), with_other_processes(fit, OmegaConf.create({})):
        killed.wait()
        raise RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer")
    assert waiting.returncode == -9
    assert fit.strategy.launcher.procs == []  # else Lightning's observer kills this process
    assert "MASTER_PORT" not in distributed.os.environ


def test_an_error_of_the_first_process_stays(store: TCPStore) -> None:
    for error in (ModelError("step 7", "the loss is nan"), ValueError("no")):
        fit = trainer(process(""))
        with pytest.raises(type(error)) as caught, with_other_processes(fit, DictConfig({})):
            raise error
        assert caught.value is error


def test_the_process_that_was_killed_is_named_before_those_that_follow() -> None:
    codes = ("raise SystemExit(2)", "import os; os.kill(os.getpid(), 9)", "")
    watch = Watch(trainer(*(process(code) for code in codes)))
    watch.start()
    while len(watch.processes) < 3 or any(p.poll() is None for p in watch.processes):
        pass
    assert watch.problem() == "process 2 ended with signal SIGKILL"
    watch.processes[1] = watch.processes[2]
    assert watch.problem() == "process 1 ended with exit status 2"
    watch.end()


def test_the_connection_error_of_torch_is_a_lost_connection() -> None:
    assert distributed.is_lost_connection(DistNetworkError("reset"))
    assert not distributed.is_lost_connection(ModelError("gloo.tif", "is broken"))
