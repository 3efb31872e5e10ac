"""Trainings that are stopped, preempted, damaged, repeated; what their runs hold."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import threading
import time
from collections.abc import Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient

from cytoloop.__main__ import main
from cytoloop.model.losses import DiceCELoss
from cytoloop.tracking.output_folder import FINISHED_FILE

TINY = [
    *("experiment=nuclei_2d", "model/size=small", "data.batch_size=2", "data.steps_per_epoch=8"),
    *("trainer.precision=32", "augmentation=light", "data.patch_size=[32,32]", "data.path=ds"),
    *("trainer.max_epochs=6", "tune=false"),
]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set and one whole training."""
    from conftest import make_images, working_in

    folder = tmp_path_factory.mktemp("runs")
    make_images(folder / "images", 5, (48, 56))
    with working_in(folder):
        assert main(["curate", "raw=images/raw", "seg1=images/seg", "output=ds"]) == 0
        assert main(["train", *TINY, "output=whole"]) == 0
    return folder


@pytest.fixture
def project(workspace: Path) -> Iterator[Path]:
    from conftest import working_in

    with working_in(workspace):
        yield workspace


def run_of(folder: str) -> tuple[MlflowClient, str]:
    return MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}"), Path(
        folder, "run_id"
    ).read_text().strip()


def weights(folder: str) -> dict[str, torch.Tensor]:
    content = torch.load(Path(folder, "checkpoints/last.ckpt"), weights_only=True)
    return dict(content["state_dict"])


def assert_equal(a: str, b: str) -> None:
    first, second = weights(a), weights(b)
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def signal_at(folder: str, number: signal.Signals, epochs: int = 2) -> threading.Thread:
    """Send this process a signal once so many epochs of a training are done."""

    def send() -> None:
        path = Path(folder, "progress.jsonl")
        for _ in range(3000):
            if path.is_file() and path.read_text().count('"validation"') >= epochs:
                os.kill(os.getpid(), number)
                return
            time.sleep(0.01)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def test_a_run_tells_speed_memory_lineage_and_shows_pictures(project: Path) -> None:
    client, run_id = run_of("whole")
    run = client.get_run(run_id)
    metrics, tags = run.data.metrics, run.data.tags
    assert metrics["system/patches_per_s"] > 1 and 0.1 < metrics["system/memory_peak_gib"] < 100
    assert 0 < metrics["train/lr"] < 0.002
    assert len(client.get_metric_history(run_id, "system/patches_per_s")) == 6
    assert (tags["cytoloop.task"], tags["cytoloop.round"]) == ("segmentation_2d", "0")
    assert tags["cytoloop.data_set"] == "ds" and int(tags["hardware.cores"]) > 0
    assert "cytoloop.parent_run" not in tags
    sheets = sorted(p.name for p in (project / "whole/snapshots").iterdir())
    assert sheets == [f"epoch_{n:04d}.png" for n in range(1, 7)]
    stored = [f.path for f in client.list_artifacts(run_id, "snapshots")]
    assert sorted(Path(path).name for path in stored) == sheets
    assert (project / "whole/curves.png").read_bytes()[:4] == b"\x89PNG"
    names = {f.path for f in client.list_artifacts(run_id)}
    assert {"overrides.yaml", "config.yaml", "data", "figures"} <= names
    assert (
        not list(project.glob("whole/*spool*")) and not (project / "whole/training.json").exists()
    )


@pytest.mark.slow
def test_a_training_repeats_another_one(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _, run_id = run_of("whole")
    assert main(["train", f"rerun=runs:/{run_id}", "output=again"]) == 0
    assert_equal("whole", "again")
    assert f"the config does not differ from runs:/{run_id}" in capfd.readouterr().err
    words = ["callbacks.snapshots.max_sheets=2", "trainer.max_epochs=4", "init_from=whole"]
    assert main(["train", "rerun=whole", "output=more", *words]) == 0
    text = capfd.readouterr().err
    assert "2 config value(s) differ from whole" in text and "max_epochs: 4 (was 6)" in text
    sheets = sorted(p.name for p in (project / "more/snapshots").iterdir())
    assert sheets == ["epoch_0001.png", "epoch_0004.png"]  # few, and the last epoch's too
    client, child = run_of("more")
    tags = client.get_run(child).data.tags
    whole = client.get_run(run_id).data.tags
    assert (tags["cytoloop.parent_run"], tags["cytoloop.round"]) == (run_id, "1")
    assert tags["cytoloop.parent_data_hash"] == whole["cytoloop.data_hash"]
    assert run_id in tags["mlflow.note.content"]


@pytest.mark.slow
def test_a_truncated_last_state_falls_back_to_the_one_before(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    thread = signal_at("cut", signal.SIGTERM)
    assert main(["train", *TINY, "output=cut"]) == 130
    thread.join()
    last = project / "cut/checkpoints/last.ckpt"
    last.write_bytes(last.read_bytes()[:20_000])
    capfd.readouterr()
    assert main(["train", "resume=cut"]) == 0
    assert "last.ckpt" in (text := capfd.readouterr().err) and "resuming from last-1.ckpt" in text
    assert_equal("whole", "cut")
    lines = [json.loads(line) for line in (project / "cut/progress.jsonl").read_text().splitlines()]
    assert lines[-1]["event"] == "end"


def test_a_finished_run_that_goes_on_and_is_stopped_has_not_finished(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *TINY, "output=longer", "trainer.max_epochs=1"]) == 0
    assert (project / "longer/finished").is_file()
    thread = signal_at("longer", signal.SIGTERM, epochs=2)
    assert main(["train", "resume=longer", "trainer.max_epochs=40"]) == 130
    thread.join()
    capfd.readouterr()
    assert main(["status", "run=longer"]) == 0
    assert "stopped" in (text := capfd.readouterr().out) and "finished" not in text


@pytest.mark.slow
def test_a_preempted_slurm_job_is_requeued_and_goes_on_by_itself(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    scontrol = project / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text('#!/bin/sh\necho "$@" >> scontrol.txt\n')
    scontrol.chmod(scontrol.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{scontrol.parent}:{os.environ['PATH']}")
    facts = {"NTASKS": "1", "JOB_NAME": "train", "JOB_ID": "123", "PROCID": "0", "LOCALID": "0"}
    facts |= {"NODEID": "0", "NODELIST": "localhost", "NTASKS_PER_NODE": "1"}
    for name, value in facts.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    before = signal.getsignal(signal.SIGUSR1)
    thread = signal_at("slurm", signal.SIGUSR1)
    words = [*TINY, "output=slurm"]
    assert main(["train", *words]) == 130
    thread.join()
    assert (project / "scontrol.txt").read_text() == "requeue 123\n"
    assert "SLURM job 123 was requeued" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGUSR1) == before
    assert not list(project.glob("slurm/hpc_ckpt*"))
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert main(["train", *words]) == 0
    assert "resuming slurm" in capfd.readouterr().err
    assert_equal("whole", "slurm")


def test_a_loss_that_is_no_number_stops_with_the_last_good_weights_kept(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    forward, calls = DiceCELoss.forward, [0]  # the first two calls are the dry run's

    @wraps(forward)
    def failing(self: DiceCELoss, *tensors: torch.Tensor) -> torch.Tensor:
        calls[0] += self.training
        return forward(self, *tensors) * (float("nan") if calls[0] > 22 else 1.0)

    monkeypatch.setattr(DiceCELoss, "forward", failing)
    assert main(["train", *TINY, "output=nan"]) == 2
    text = capfd.readouterr().err
    assert "ModelError: step 20: the loss is nan (images of the batch: img_" in text
    assert "lower model.optimizer.lr" in text and "Traceback" not in text
    client, run_id = run_of("nan")
    run = client.get_run(run_id)
    assert run.info.status == "FAILED"
    assert "step 20: the loss is nan" in run.data.tags["cytoloop.failure"]
    last = torch.load(project / "nan/checkpoints/last.ckpt", weights_only=True)
    assert last["global_step"] == 16
    assert all(bool(torch.isfinite(value).all()) for value in weights("nan").values())


@pytest.mark.slow
def test_averaged_weights_and_gathered_gradients_go_on_exactly(project: Path) -> None:
    words = [*TINY, "callbacks=ema", "callbacks.ema.decay=0.5", "trainer.accumulate_grad_batches=3"]
    words += ["optimizer=sgd", "schedule=poly"]
    words += ["model.backbone.norm_name=batch"]  # on a CPU its channels lie innermost in memory
    assert main(["train", *words, "output=mean"]) == 0
    content = torch.load(project / "mean/checkpoints/last.ckpt", weights_only=True)
    assert content["global_step"] == 18  # of 8 batches in an epoch: 3, 3 and 2
    current = content["current_model_state"]
    assert any(not torch.equal(v, current[name]) for name, v in content["state_dict"].items())
    lines = [json.loads(line) for line in (project / "mean/progress.jsonl").open()]
    steps = [line["step"] for line in lines if line["event"] == "step"]
    assert steps == sorted(set(steps)) and lines[-1]["spent"] == 1
    (schedule,) = content["lr_schedulers"]
    assert schedule["spent"] == 1 and max(schedule["_last_lr"]) == 0  # it ends with the budget
    assert main(["predict", "checkpoint=mean", "input=ds/valid.csv", "output=mean_preds"]) == 0
    thread = signal_at("mean_cut", signal.SIGTERM)
    assert main(["train", *words, "output=mean_cut"]) == 130
    thread.join()
    assert main(["train", "resume=mean_cut"]) == 0
    assert_equal("mean", "mean_cut")


def test_a_store_that_is_away_costs_no_model(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    former = weights("whole")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert main(["train", *TINY, "output=whole", "overwrite=true"]) == 2
    assert "http://127.0.0.1:9" in capfd.readouterr().err
    assert all(torch.equal(value, former[name]) for name, value in weights("whole").items())
    assert (project / "whole" / FINISHED_FILE).is_file()


@pytest.mark.slow
def test_a_compiled_network_is_kept_as_any_other(project: Path) -> None:
    words = ["model.compile=true", "trainer.max_epochs=1", "output=compiled"]
    assert main(["train", *TINY, *words]) == 0
    assert set(weights("compiled")) == set(weights("whole"))
    assert (
        main(["predict", "checkpoint=compiled", "input=ds/valid.csv", "output=compiled_preds"]) == 0
    )


def test_weights_that_are_no_numbers_are_not_saved(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The gradients of the last step of an epoch overflow; the loss did not."""
    step, calls = torch.optim.AdamW.step, [0]

    def overflowing(self: torch.optim.AdamW, closure: Any = None) -> Any:
        result = step(self, closure)
        calls[0] += 1
        if calls[0] == 16:
            self.param_groups[0]["params"][0].data.fill_(float("inf"))
        return result

    monkeypatch.setattr(torch.optim.AdamW, "step", overflowing)
    assert main(["train", *TINY, "output=inf"]) == 2
    assert re.search(r"step 16: \d+ weights are NaN or infinite", text := capfd.readouterr().err), (
        text
    )
    for name in ("best", "last"):
        kept = torch.load(project / f"inf/checkpoints/{name}.ckpt", weights_only=True)
        assert kept["global_step"] == 8


def test_a_training_stops_where_its_score_gains_nothing(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["model.optimizer.lr=1e-6", "callbacks.best.monitor=val/dice", "budget_minutes=5"]
    assert main(["train", *TINY, *words, "early_stop=1", "output=early"]) == 0
    assert "stopped: val/dice did not improve in 1 validations" in capfd.readouterr().err
    client, run_id = run_of("early")
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED" and run.data.params["early_stop"] == "1"
    scores = [m.value for m in client.get_metric_history(run_id, "val/dice")]
    assert scores[-1] <= max(scores[:-1])


def test_a_stop_after_the_last_epoch_does_not_wait_for_a_step(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cytoloop.rounds.run_training

    def stopped(*args: object) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
        raise AssertionError("the signal was swallowed")

    monkeypatch.setattr(cytoloop.rounds.run_training, "tune", stopped)
    words = [*TINY, "output=late", "tune=true", "trainer.max_epochs=1"]
    assert main(["train", *words]) == 130
    client, run_id = run_of("late")
    assert client.get_run(run_id).info.status == "KILLED"
