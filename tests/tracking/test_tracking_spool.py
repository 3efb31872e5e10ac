"""The spool loses no entry and stores none twice; tests/integration/test_server.py has a server."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from cytoloop.__main__ import main
from cytoloop.errors import ConfigError, ModelError
from cytoloop.tracking.log_entries import metrics_entry
from cytoloop.tracking.run import SpooledRun, active_run, start_run
from cytoloop.tracking.spool import SPOOL_FILE, Spool, read_spool
from cytoloop.tracking.sync import send_spooled

AWAY = "http://127.0.0.1:9"  # nothing listens there


@pytest.fixture
def folder(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return project


def test_all_entries_are_stored_and_the_spool_is_removed(folder: Path) -> None:
    made = start_run("exp", "spooled")
    run = SpooledRun(made.client, made.run_id, folder)
    assert active_run(run.run_id) is run
    (folder / "a.txt").write_text("file")
    run.params({"lr": 0.1, "long": "x" * 7000})
    for step in range(5):
        run.metrics({"loss": 1.0 / (step + 1), "nan": float("nan")}, step)
    run.tags({"note": "first"})
    run.tags({"note": "second"})
    run.files(["a.txt", "missing"], "files")
    run.dataset("ds", "abc", "/data", "{}")
    run.end("KILLED")
    data = run.client.get_run(run.run_id)
    assert data.info.status == "KILLED" and data.data.tags["note"] == "second"
    assert data.data.params["lr"] == "0.1" and set(data.data.metrics) == {"loss"}
    history = run.client.get_metric_history(run.run_id, "loss")
    assert sorted(m.step for m in history) == [0, 1, 2, 3, 4]
    assert data.inputs.dataset_inputs[0].dataset.name == "ds"
    names = {one.path for one in run.client.list_artifacts(run.run_id)}
    assert names == {"files", "long_params.json"}
    assert not (folder / SPOOL_FILE).exists() and active_run(run.run_id) is None


def test_entries_of_a_deleted_run_wait_until_it_is_restored(
    folder: Path, store: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = start_run("exp", "deleted")
    run.client.delete_run(run.run_id)
    spool = Spool(run.client, run.run_id, folder / SPOOL_FILE)
    spool.put(metrics_entry({"loss": 1.0}, 0))
    assert spool.close(patience=0.2) == 1
    assert "was deleted in" in caplog.text and "restore it there" in caplog.text
    with pytest.raises(ConfigError, match="is deleted in the MLflow store; 1 entries are kept"):
        send_spooled(folder, store)
    run.client.restore_run(run.run_id)
    assert send_spooled(folder, store) == 1
    assert run.client.get_run(run.run_id).data.metrics == {"loss": 1.0}


def test_an_unavailable_store_delays_and_loses_nothing(
    folder: Path, store: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cytoloop")
    run_id = start_run("exp", "away").run_id
    spool = Spool(MlflowClient(AWAY), run_id, folder / SPOOL_FILE)
    started = time.monotonic()
    for step in range(50):
        spool.put(metrics_entry({"loss": float(step)}, step))
    spool.put({"kind": "tags", "values": {"note": "one"}})
    spool.put({"kind": "tags", "values": {"note": "two"}})
    assert time.monotonic() - started < 1
    assert spool.close(patience=1.5) == 52
    words = [r.getMessage() for r in caplog.records if "does not answer" in r.getMessage()]
    assert len(words) == 1 and AWAY in words[0]
    former, entries = read_spool(folder / SPOOL_FILE)
    assert former == run_id and len(entries) == 52
    text = (folder / SPOOL_FILE).read_text()
    assert send_spooled(folder, store) == 52 and not (folder / SPOOL_FILE).exists()
    (folder / SPOOL_FILE).write_text(
        text
    )  # as if the process was killed before it removed the file
    assert main(["sync", str(folder)]) == 0
    client = MlflowClient(store)
    assert len(client.get_metric_history(run_id, "loss")) == 50
    assert client.get_run(run_id).data.tags["note"] == "two"
    assert send_spooled(folder, store) == 0


def test_a_spool_may_end_with_half_a_line(folder: Path, store: str) -> None:
    run_id = start_run("exp", "killed").run_id
    lines = [{"kind": "run", "run_id": run_id}, metrics_entry({"loss": 1.0}, 1)]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"kind": "metr'
    (folder / SPOOL_FILE).write_text(text)
    spool = Spool(MlflowClient(AWAY), run_id, folder / SPOOL_FILE)
    spool.put(metrics_entry({"loss": 2.0}, 2))
    assert spool.close(patience=0.5) == 2
    assert send_spooled(folder, store) == 2
    assert len(MlflowClient(store).get_metric_history(run_id, "loss")) == 2


def test_refused_entries_are_reported_once_per_kind(
    folder: Path, store: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = start_run("exp", "refused")
    spool = Spool(run.client, run.run_id, folder / SPOOL_FILE)
    for number in range(3):
        spool.put({"kind": "params", "values": {f"bad!{number}": "1"}})
    spool.put({"kind": "file", "path": str(folder / "gone.png"), "folder": None})
    spool.put(metrics_entry({"loss": 1.0}, 1))
    assert spool.close() == 0
    messages = [r.getMessage() for r in caplog.records if r.name == "cytoloop.tracking.spool"]
    assert [text.split(":")[0] for text in messages] == [
        "MLflow refused params bad!0",
        "MLflow refused file gone.png",
    ]
    assert run.client.get_run(run.run_id).data.metrics == {"loss": 1.0}


def test_errors_of_sync(folder: Path, store: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["sync", "nowhere"]) == 2
    assert "nowhere: no such folder" in capfd.readouterr().err
    assert main(["sync", "."]) == 0
    assert "there is nothing to send" in capfd.readouterr().err
    entries = [{"kind": "run", "run_id": "0" * 32}, metrics_entry({"loss": 1.0}, 1)]
    (folder / SPOOL_FILE).write_text("".join(json.dumps(one) + "\n" for one in entries))
    with pytest.raises(ModelError, match="no such run"):
        send_spooled(folder, store)
    with pytest.raises(ConfigError, match="cannot be used"):
        send_spooled(folder, AWAY)
    assert (folder / SPOOL_FILE).is_file()
