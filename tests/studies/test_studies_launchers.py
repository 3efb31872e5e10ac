"""Launchers: jobs of submitit on this machine, the job script of SLURM, and Dask."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from distributed import LocalCluster

from cytoloop.errors import ConfigError
from cytoloop.studies.launchers import STOP_FILE, Launch, Task, launching

CODE = "import os,time; print(os.environ['WORD'], flush=True); time.sleep({}); raise SystemExit(3)"


def wait(task: Task) -> int:
    for _ in range(600):
        if (status := task.poll()) is not None:
            return status
        time.sleep(0.1)
    raise AssertionError("the task does not end")


def check(launch: Launch | None, folder: Path) -> None:
    """Run a command to its end, and stop another one."""
    assert launch is not None
    folder.mkdir()
    command = [sys.executable, "-c", CODE.format(0)]
    assert wait(launch(command, folder, {"WORD": "hello"})) == 3
    assert (folder / "run.log").read_text() == "hello\n"
    (folder / "run.log").unlink()
    task = launch([sys.executable, "-c", CODE.format(100)], folder, {"WORD": "again"})
    while not (folder / "run.log").is_file() or not (folder / "run.log").read_text():
        time.sleep(0.1)
    assert task.poll() is None
    (folder / STOP_FILE).touch()
    assert wait(task) == -15


def test_submitit_runs_and_stops_commands_of_this_machine(tmp_path: Path) -> None:
    with launching("submitit", "run.log", {}, None, tmp_path) as launch:
        check(launch, tmp_path / "run")


def test_dask_runs_and_stops_commands(tmp_path: Path) -> None:
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=False,
            dashboard_address=None,
            host="127.0.0.1",
            protocol="tcp",
            local_directory=str(tmp_path / "dask"),
        ) as cluster,
        launching("dask", "run.log", {}, cluster.scheduler_address, tmp_path) as launch,
    ):
        check(launch, tmp_path / "run")


def test_the_job_script_of_slurm_asks_for_what_was_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for sbatch keeps the script: a SLURM cluster is not at hand."""
    tools = tmp_path / "bin"
    tools.mkdir()
    kept = tmp_path / "script.sh"
    for name, text in {
        "sbatch": f'cp "$1" {kept}\necho Submitted batch job 12',
        "srun": "exit 0",
        "sacct": "echo JobID,State,NodeList; exit 0",
        "scancel": "exit 0",
    }.items():
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    options = {"slurm_partition": "gpu", "gpus_per_node": 1, "cpus_per_task": 8, "timeout_min": 90}
    with launching("slurm", "run.log", options, None, tmp_path) as launch:
        assert launch is not None
        launch(["cytoloop", "--help"], tmp_path, {})
    script = kept.read_text()
    for line in ("partition=gpu", "gpus-per-node=1", "cpus-per-task=8", "time=90"):
        assert f"#SBATCH --{line}\n" in script
    assert "srun" in script and "submitit" in script


def test_launchers_that_cannot_be_used_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = (
        ("slurm", {}, "launcher_options= holds parameters of submitit"),
        ("submitit", {"nodes_of_gold": 1}, "nodes_of_gold"),
        ("dask", {}, "scheduler= is missing"),
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    for launcher, options, problem in cases:
        with (
            pytest.raises(ConfigError, match=problem),
            launching(launcher, "run.log", options, None, tmp_path),
        ):
            pass
