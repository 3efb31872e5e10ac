"""Training with two real processes: same results as with one; they stop and fail together.

Lightning's launcher starts the command again, so these trainings run outside of the test process.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
from mlflow import MlflowClient

from cytoloop.__main__ import main

pytestmark = pytest.mark.slow
WORDS = [
    *("train", "experiment=nuclei_2d", "model/size=small", "trainer.precision=32"),
    *("augmentation=none", "data.patch_size=[32,32]", "data.path=ds", "trainer.max_epochs=4"),
    *("optimizer=sgd", "model.optimizer.lr=0.1", "model.optimizer.momentum=0.9"),
    *("+model.task_heads.seg.loss.lambda_dice=0", "tune=false", "score_test=false"),
]
ONE = [*WORDS, "data.batch_size=2", "data.steps_per_epoch=12"]
HALVES = [*WORDS, "data.batch_size=1", "data.steps_per_epoch=24", "trainer=cpu"]
TWO = [*HALVES, "trainer.strategy=ddp", "trainer.devices=2"]
NODES = [*HALVES, "trainer.strategy=ddp", "trainer.num_nodes=2"]
ONES = ("one", "two")
FOREGROUND = [  # the other losses are balanced over the batch of a process
    *("model.task_heads.distance.loss_weight=0", "model.task_heads.contour.loss_weight=0"),
]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with three validation images, which two processes cannot share evenly."""
    from conftest import make_images, working_in

    folder = tmp_path_factory.mktemp("processes")
    make_images(folder / "images", 7, (48, 56))
    with working_in(folder):
        words = ["raw=images/raw", "seg1=images/seg", "output=ds", "valid=0.43", "test=0"]
        assert main(["curate", *words]) == 0
        assert main([*ONE, "output=model"]) == 0
        assert train(*TWO, *FOREGROUND, "output=two")[0] == 0
    return folder


@pytest.fixture
def project(workspace: Path) -> Iterator[Path]:
    from conftest import working_in

    with working_in(workspace):
        yield workspace


def start(*words: str, program: str = "-m cytoloop", **variables: str) -> subprocess.Popen[str]:
    """Start a command; what it prints is in ``stderr``."""
    return subprocess.Popen(
        [sys.executable, *program.split(), *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables},
        start_new_session=True,
    )


def train(*words: str) -> tuple[int, str]:
    """Run a training with two processes; return its exit status and what it prints."""
    process = start(*words)
    _, text = process.communicate()
    return process.returncode, text


def start_nodes(*words: str) -> list[subprocess.Popen[str]]:
    """Start two agents of torchrun, each with one process, as on two machines."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    agent = "-m torch.distributed.run --nnodes=2 --nproc-per-node=1 --node-rank={} "
    agent += f"--master-addr=127.0.0.1 --master-port={port} -m cytoloop"
    # each machine has its own locks
    return [start(*words, program=agent.format(n), CYTOLOOP_STATE=f"state{n}") for n in (1, 0)]


def wait_for_validations(folder: str, count: int = 2) -> None:
    path = Path(folder, "progress.jsonl")
    for _ in range(60_000):
        if path.is_file() and path.read_text().count('"validation"') >= count:
            return
        time.sleep(0.01)
    raise AssertionError(f"{folder}: no validation in 10 minutes")


def client() -> MlflowClient:
    return MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")


def scores(folder: str) -> dict[str, float]:
    found = client().get_run(Path(folder, "run_id").read_text().strip()).data.metrics
    return {name: value for name, value in found.items() if name.startswith("val/")}


def weights(folder: str) -> dict[str, torch.Tensor]:
    content = torch.load(Path(folder, "checkpoints/last.ckpt"), weights_only=True)
    return dict(content["state_dict"])


def test_two_processes_give_the_scores_of_one(project: Path) -> None:
    still = ["init_from=model", "model.optimizer.lr=1e-6", "trainer.max_epochs=1"]
    assert main([*ONE, *still, "output=scored_by_one"]) == 0
    assert train(*TWO, *still, "output=scored_by_two")[0] == 0
    one, two = scores("scored_by_one"), scores("scored_by_two")
    assert one["val/pq"] > 0.5 and one["val/pq"] != one["val/f1_50"]
    assert two == pytest.approx(one, abs=1e-3)


def test_two_processes_give_the_weights_of_one(project: Path) -> None:
    assert main([*ONE, *FOREGROUND, "output=one"]) == 0
    assert scores("one")["val/dice"] > 0.8
    assert scores("two")["val/dice"] == pytest.approx(scores("one")["val/dice"], abs=1e-3)
    other = weights("two")
    for name, value in weights("one").items():
        torch.testing.assert_close(other[name], value, atol=1e-3, rtol=1e-2)


def test_accumulated_steps_and_averaged_weights_are_those_of_one_process(project: Path) -> None:
    more = [*FOREGROUND, "callbacks=ema", "callbacks.ema.decay=0.5", "trainer.max_epochs=2"]
    more += ["trainer.accumulate_grad_batches=3"]
    assert main([*ONE, *more, "output=mean_of_one"]) == 0
    assert train(*TWO, *more, "output=mean_of_two")[0] == 0
    one, two = (torch.load(f"mean_of_{n}/checkpoints/last.ckpt", weights_only=True) for n in ONES)
    assert one["global_step"] == two["global_step"] == 8
    for name, value in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][name], value, atol=1e-3, rtol=1e-2)
    assert scores("mean_of_two") == pytest.approx(scores("mean_of_one"), abs=5e-3)


def test_a_single_validation_image_is_scored_by_one_of_two_processes(project: Path) -> None:
    words = ["raw=images/raw", "seg1=images/seg", "output=few", "valid=0.15", "test=0"]
    assert main(["curate", *words]) == 0
    assert len(Path("few/valid.csv").read_text().splitlines()) == 2
    few = [*TWO, "data.path=few", "model.backbone.norm_name=batch", "trainer.max_epochs=2"]
    assert train(*few, "output=one_image")[0] == 0
    assert {"val/dice", "val/pq", "val/f1_50"} <= set(scores("one_image"))
    assert 0 < scores("one_image")["val/dice"] <= 1


def test_only_the_first_process_logs_and_writes_files(project: Path) -> None:
    (experiment,) = (e for e in client().search_experiments() if e.name == "cytoloop")
    runs = client().search_runs([experiment.experiment_id])
    assert [run.data.tags["cytoloop.output"] for run in runs].count(f"{project}/two") == 1
    assert (project / "two/progress.jsonl").read_text().count('"validation"') == 4
    assert sorted(p.name for p in (project / "two/checkpoints").iterdir()) == [
        *("best.ckpt", "last-1.ckpt", "last.ckpt")
    ]
    assert (project / "two/process-1.log").is_file()


def test_a_stopped_training_of_two_processes_resumes_exactly(project: Path) -> None:
    process = start(*TWO, *FOREGROUND, "output=cut")
    wait_for_validations("cut")
    os.kill(process.pid, signal.SIGTERM)  # as `cytoloop cancel` does
    _, text = process.communicate()
    assert process.returncode == 130 and "resume with: cytoloop train resume=cut" in text
    run = client().get_run(Path("cut/run_id").read_text().strip())
    assert run.info.status == "KILLED"
    stopped = torch.load("cut/checkpoints/last.ckpt", weights_only=True)
    assert 24 <= stopped["global_step"] < 48
    assert train("train", "resume=cut")[0] == 0
    whole = weights("two")
    assert all(torch.equal(value, whole[name]) for name, value in weights("cut").items())


def test_a_process_that_is_killed_ends_the_training_which_resumes(project: Path) -> None:
    process = start(*TWO, *FOREGROUND, "output=dead")
    wait_for_validations("dead")
    children = psutil.Process(process.pid).children()
    (other,) = (c for c in children if c.environ().get("LOCAL_RANK") == "1")
    other.kill()
    _, text = process.communicate()
    assert process.returncode == 2
    assert "ModelError: trainer: process 1 ended with signal SIGKILL" in text
    assert "cytoloop train resume=dead" in text
    run = client().get_run(Path("dead/run_id").read_text().strip())
    assert run.info.status == "FAILED" and "process 1" in run.data.tags["cytoloop.failure"]
    assert train("train", "resume=dead")[0] == 0
    whole = weights("two")
    assert all(torch.equal(value, whole[name]) for name, value in weights("dead").items())


def test_two_machines_give_the_weights_of_two_processes(project: Path) -> None:
    agents = start_nodes(*NODES, *FOREGROUND, "output=nodes")
    texts = [agent.communicate()[1] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], texts
    assert scores("nodes") == pytest.approx(scores("two"), abs=1e-3)
    other = weights("nodes")
    for name, value in weights("two").items():
        torch.testing.assert_close(other[name], value, atol=1e-3, rtol=1e-2)
    assert (project / "nodes/progress.jsonl").read_text().count('"validation"') == 4
    assert (project / "nodes/process-1.log").is_file()


def test_a_killed_machine_ends_the_training_on_the_other(project: Path) -> None:
    agents = start_nodes(*NODES, "output=lost")
    wait_for_validations("lost")
    for worker in psutil.Process(agents[0].pid).children(recursive=True):
        worker.kill()  # of the second machine
    texts = [agent.communicate()[1] for agent in agents]
    assert all(agent.returncode for agent in agents)
    assert "ModelError: trainer: another process has ended" in texts[1]
    assert "cytoloop train resume=lost" in texts[1]
    run = client().get_run(Path("lost/run_id").read_text().strip())
    assert run.info.status == "FAILED"


def test_an_error_before_the_training_ends_all_machines(project: Path) -> None:
    agents = start_nodes(*NODES, "data.path=missing", "output=none")
    texts = [agent.communicate()[1] for agent in agents]
    assert all(agent.returncode for agent in agents)
    assert "missing" in texts[1] and "the first process ended before the training" in texts[0]
    assert not Path("none/run_id").exists()
