"""Training, resuming and predicting with a real tracking server that is killed meanwhile."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from cytoloop.__main__ import main
from cytoloop.tracking.spool import SPOOL_FILE

pytestmark = pytest.mark.slow

TINY = [
    *("experiment=nuclei_3d", "model/size=small", "data.batch_size=2", "data.steps_per_epoch=8"),
    *("trainer.precision=32", "augmentation=none", "data.patch_size=[8,32,32]", "data.path=ds"),
]


class Server:
    """`mlflow server` on 127.0.0.1 that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder = folder
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/server.db"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
        environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # it starts faster
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, env=environment
            )
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=1):
                    return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError((self.folder / "server.log").read_text()[-2000:])

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A project with a data set, and its server."""
    from conftest import make_images

    monkeypatch.chdir(tmp_path)
    make_images(tmp_path / "images", 4)
    assert main(["curate", "raw=images/raw", "seg1=images/seg", "output=ds"]) == 0
    server = Server(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    server.start()
    yield server
    server.kill()


def train(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cytoloop", "train", *TINY, *words]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def wait_for_validations(folder: str, count: int, process: subprocess.Popen[str]) -> None:
    for _ in range(3000):
        path = Path(folder, "progress.jsonl")
        lines = path.read_text().splitlines() if path.is_file() else []
        if sum('"validation"' in line for line in lines) >= count:
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)
    raise AssertionError("no validation")


def test_training_survives_a_killed_server_and_loses_nothing(server: Server) -> None:
    process = train("output=m0", "trainer.max_epochs=40")
    wait_for_validations("m0", 2, process)
    server.kill()
    wait_for_validations("m0", 6, process)
    assert (Path("m0") / SPOOL_FILE).is_file()
    server.start()
    text = process.communicate(timeout=600)[1]
    assert process.returncode == 0, text
    assert text.count("does not answer") == 1 and text.count("answers again") == 1
    assert not (Path("m0") / SPOOL_FILE).exists()
    run_id = Path("m0/run_id").read_text().strip()
    client = MlflowClient(server.uri)
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED" and run.info.artifact_uri.startswith("mlflow-artifacts:")
    lines = [json.loads(line) for line in Path("m0/progress.jsonl").read_text().splitlines()]
    scores = {
        one["step"]: one["scores"]["val/dice"] for one in lines if one["event"] == "validation"
    }
    history = client.get_metric_history(run_id, "val/dice")
    assert len(history) == 40  # each once
    assert sorted(m.value for m in history) == pytest.approx(sorted(scores.values()))
    assert {"tuned/dice", "train/lr", "system/patches_per_s"} <= set(run.data.metrics)
    files = {
        one.path
        for folder in ("checkpoints", "figures")
        for one in client.list_artifacts(run_id, folder)
    }
    assert files == {"checkpoints/best.ckpt", "checkpoints/last.ckpt", "figures/curves.png"}

    assert (
        main(["predict", f"checkpoint=runs:/{run_id}", "input=images/raw/img_0.tif", "output=p"])
        == 0
    )

    # a second round is stopped while its server is down
    process = train("output=m1", "trainer.max_epochs=500", f"init_from=runs:/{run_id}")
    wait_for_validations("m1", 2, process)
    server.kill()
    assert main(["cancel", "run=m1"]) == 0
    text = process.communicate(timeout=300)[1]
    assert process.returncode == 130, text
    assert "cytoloop sync m1" in text and "resume=m1" in text, text
    process = train("output=m2", "trainer.max_epochs=1")
    text = process.communicate(timeout=300)[1]
    assert process.returncode == 2 and "cannot be used" in text
    server.start()
    stopped = Path("m1/run_id").read_text().strip()
    assert client.get_run(stopped).info.status == "RUNNING"
    assert main(["sync", "m1"]) == 0
    run = client.get_run(stopped)
    assert run.info.status == "KILLED" and run.data.tags["cytoloop.parent_run"] == run_id
    process = train("resume=runs:/" + stopped, "trainer.max_epochs=8", "output=m1")
    text = process.communicate(timeout=300)[1]
    assert process.returncode == 0, text
    assert client.get_run(stopped).info.status == "FINISHED"
