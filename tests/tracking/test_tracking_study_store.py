"""Trainings of a study leave their entries in spools, and one process sends them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from cytoloop.studies.design import Combination
from cytoloop.studies.record import StudyRecord
from cytoloop.studies.runs import Run
from cytoloop.studies.settings import Level
from cytoloop.tracking.run import SpooledRun, start_run
from cytoloop.tracking.study_store import STUDY_VARIABLE

TRAINING = """
import sys, time
from pathlib import Path
from cytoloop.tracking.run import SpooledRun, start_run
folder, steps = Path(sys.argv[1]), int(sys.argv[2])
started = start_run("study", folder.name)
(folder / "run_id").write_text(started.run_id)
run = SpooledRun(started.client, started.run_id, folder)
for step in range(steps):
    run.metrics({"loss": 1 / (step + 1)}, step)
    time.sleep(0.01)
run.end("FINISHED")
"""


def test_entries_of_a_study_stay_in_the_spool(
    project: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STUDY_VARIABLE, str(project / "study"))
    before = set(threading.enumerate())
    started = start_run("study", "a")
    run = SpooledRun(started.client, started.run_id, project / "run")
    run.metrics({"loss": 1.0}, 1)
    run.end("FINISHED")
    assert not any(one.name == "mlflow-spool" for one in set(threading.enumerate()) - before)
    assert MlflowClient(store).get_run(run.run_id).data.metrics == {}
    assert '"loss"' in (project / "run/mlflow_spool.jsonl").read_text()


def test_one_process_sends_for_two_trainings_one_of_them_killed(project: Path, store: str) -> None:
    study = project / "study"
    runs = [
        Run(Combination({"a": Level(name)}), 1, name, study / "runs" / name, (), study, 4)
        for name in ("whole", "killed")
    ]
    record = StudyRecord(study, "study", {})
    environment = os.environ | {STUDY_VARIABLE: str(study), "MLFLOW_TRACKING_URI": store}
    (project / "training.py").write_text(TRAINING)
    processes = []
    for run, steps in zip(runs, ("20", "100000"), strict=True):
        run.folder.mkdir(parents=True)
        words = [sys.executable, project / "training.py", run.folder, steps]
        processes.append(subprocess.Popen(words, env=environment))
    spool = runs[1].folder / "mlflow_spool.jsonl"
    try:
        while not spool.is_file() or len(spool.read_text().splitlines()) < 5:
            assert processes[1].poll() is None
            time.sleep(0.05)
    finally:
        processes[1].kill()
    assert [one.wait(120) for one in processes] == [0, -signal.SIGKILL]
    assert "FINISHED" in (runs[0].folder / "mlflow_spool.jsonl").read_text()

    for run in runs:
        record.add(run)
        assert not (run.folder / "mlflow_spool.jsonl").exists()
    client = MlflowClient(store)
    whole, killed = (client.get_run((one.folder / "run_id").read_text()) for one in runs)
    assert whole.info.status == "FINISHED" and killed.info.status == "RUNNING"
    assert len(client.get_metric_history(whole.info.run_id, "loss")) == 20
    assert len(client.get_metric_history(killed.info.run_id, "loss")) >= 4
    tags = [one.data.tags["mlflow.parentRunId"] for one in (whole, killed)]
    assert tags == [record.run.run_id] * 2


def test_trainings_that_ended_when_their_study_was_killed_become_its_children(
    project: Path, store: str
) -> None:
    study = project / "study"
    levels = ("added", "left out", "open")
    runs = [
        Run(Combination({"a": Level(name)}), 1, name, study / "runs" / name, (), study, 4)
        for name in levels
    ]
    record = StudyRecord(study, "study", {})
    for run in runs:
        run.folder.mkdir(parents=True)
        (run.folder / "run_id").write_text(start_run("study", run.key).run_id)
    for run in runs[:2]:
        for _ in range(2):
            run.note(1.0, "it fails")
    record.add(runs[0])
    again = StudyRecord(study, "study", {})  # the first was killed before it could add the second
    assert [again.lacks(run) for run in runs] == [False, True, False]
    again.add(runs[1])
    assert not again.lacks(runs[1])
