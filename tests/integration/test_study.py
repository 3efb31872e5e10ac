"""A study of tiny trainings: killed, shared by two processes, and the same as an unbroken one.

Four trainings; `CYTOLOOP_TEST_SEEDS=3 pytest -m slow tests/integration/test_study.py` takes twelve,
which are about ten minutes of one core.
"""

from __future__ import annotations

import csv
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import make_images
from mlflow import MlflowClient

from cytoloop.__main__ import main

BASE = (
    "base=[experiment=nuclei_2d,model/size=small,trainer.max_steps=4,data.batch_size=2,"
    "data.patch_size=32,data.steps_per_epoch=2,trainer.accelerator=cpu]"
)
SEEDS = int(os.environ.get("CYTOLOOP_TEST_SEEDS", "1"))
STUDY = """# @package _global_
factors:
  rate:
    normal: []
    low: [model.optimizer.lr=1e-4]
    high: [model.optimizer.lr=1e-2]
    wrong: [model.optimizer.lr=-1]
"""


def study_words(output: str, seeds: int = SEEDS) -> list[str]:
    return ["study", "study=mine", "data.path=dataset", f"output={output}", BASE, f"seeds={seeds}"]


def start(words: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        command = [sys.executable, "-m", "cytoloop", *words, "lock=false"]
        return subprocess.Popen(command, stdout=output, stderr=output, env=os.environ.copy())


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def results(folder: Path) -> list[tuple[str, ...]]:
    """Return what a study found, without times and MLflow's ids."""
    left_out = ("minutes", "mlflow_run", "problem")
    rows = read_rows(folder / "runs.csv")
    return [tuple(v for k, v in row.items() if k not in left_out) for row in rows]


@pytest.mark.slow
def test_a_study_killed_and_shared_ends_with_the_table_of_an_unbroken_one(
    project: Path, store: str, capfd: pytest.CaptureFixture[str]
) -> None:
    images = make_images(project / "images", 10, (40, 40))
    words = [f"raw={images}/raw", f"seg1={images}/seg", "output=dataset", "test=0.3", "valid=0.1"]
    assert main(["curate", *words]) == 0
    (project / "experiments/study").mkdir(parents=True)
    (project / "experiments/study/mine.yaml").write_text(STUDY)

    assert main(study_words("unbroken")) == 0
    text = capfd.readouterr()
    ends = {"normal": "done", "low": "done", "high": "done", "wrong": "failed"}
    unbroken = read_rows(project / "unbroken/runs.csv")
    assert {(row["rate"], row["seed"]): row["status"] for row in unbroken} == {
        (rate, str(seed)): end for rate, end in ends.items() for seed in range(1, SEEDS + 1)
    }
    assert text.err.count("failed: rate wrong, seed 1") >= 2  # tried once more
    assert f"{3 * SEEDS} of {4 * SEEDS} runs finished, {SEEDS} failed" in text.out
    assert "Failed runs" in (project / "unbroken/report.html").read_text()

    chance = random.Random(3)
    log = project / "broken.log"
    for sent in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        process = start(study_words("broken"), log)
        time.sleep(chance.uniform(8, 30))
        process.send_signal(sent)
        assert process.wait(120) in (-signal.SIGKILL, 130, 0), log.read_text()
    both = [start(study_words("broken"), log) for _ in range(2)]
    try:
        assert [process.wait(300 * SEEDS) for process in both] == [0, 0], log.read_text()
    finally:
        for process in both:
            process.terminate()  # none trains on after a failed test
    assert main(study_words("broken")) == 0
    assert results(project / "broken") == results(project / "unbroken")
    assert all(row["minutes"] for row in read_rows(project / "broken/runs.csv"))

    client = MlflowClient(store)
    parent = client.get_run((project / "broken/run_id").read_text().strip())
    assert parent.info.status == "KILLED"  # a run has failed
    query = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    children = client.search_runs([parent.info.experiment_id], query)
    assert {run.data.tags["study.rate"] for run in children} >= {"normal", "low"}

    # of a new seed, only its runs are to do
    assert main([*study_words("broken", SEEDS + 1), "max_runs=0"]) == 0
    rows = read_rows(project / "broken/runs.csv")
    assert {row["seed"] for row in rows if row["status"] == "open"} == {str(SEEDS + 1)}
    assert len(rows) == 4 * (SEEDS + 1)
