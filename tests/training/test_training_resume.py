"""A killed training goes on exactly: the same batches, weights, means and logged steps."""

from __future__ import annotations

import contextlib
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers.logger import Logger
from mlflow import MlflowClient
from omegaconf import OmegaConf
from torch.utils.data import DataLoader

from cytoloop.data.patch_loader import PatchLoader
from cytoloop.model.epoch_means import EpochMeans
from cytoloop.model.module import SegmentationModule
from cytoloop.rounds.training_record import open_training_run
from cytoloop.tracking.logger import RunLogger
from cytoloop.tracking.run import SpooledRun
from cytoloop.tracking.spool import SPOOL_FILE
from cytoloop.training.callbacks.exact_resume import ExactResume
from cytoloop.training.callbacks.validation_budget import ValidationBudget
from cytoloop.training.stopping import SaveOnStop, clean_stop

BATCHES = 5  # of an epoch
Position = tuple[int, int]


class Positions:
    """Patches that hold their epoch and number, in every voxel of a channel."""

    def __getitem__(self, index: Position) -> dict[str, torch.Tensor]:
        image = torch.tensor(index, dtype=torch.float32).reshape(2, 1, 1).expand(2, 2, 2)
        return {"image": image, "target": image[:1] > 0, "weight": torch.ones(1, 2, 2)}


class Linear(torch.nn.Module):
    """A network of one weight for each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 1, 1)
        torch.nn.init.constant_(self.conv.weight, 0.1)
        torch.nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.conv(image * 0.1)


class Head(torch.nn.Module):
    """A head whose loss is the mean logit."""

    loss_weight = 1.0

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return logits

    def loss(self, logits: torch.Tensor, *_: Any) -> torch.Tensor:
        return logits.square().mean()

    def probability(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.sigmoid()


class Killed(Exception):
    """Stands for SIGKILL: nothing after it is written."""


class Recorder(Logger):
    """Keeps what is logged, by metric and step."""

    name, version = "recorder", "0"

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[tuple[str, int], float] = {}

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        for name, value in metrics.items():
            if name not in ("epoch", "train/lr"):
                self.values[name, int(step or 0)] = value

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass


class Module(SegmentationModule):
    """Our module, with its batches recorded; `end` is called with their number."""

    def __init__(self, end: Any = None) -> None:
        super().__init__(
            backbone=Linear(),
            task_heads={"foreground": Head()},
            inferer=lambda image, network: network(image),
            image={"spatial_dims": 2, "heads": ["foreground"]},
            optimizer=lambda parameters: torch.optim.SGD(parameters, 0.01, momentum=0.9),
        )
        self.seen: list[Position] = []
        self.end = end

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Any:
        if self.end is not None:
            self.end(len(self.seen))
        epoch, number = batch["image"][0, :, 0, 0].tolist()
        self.seen.append((int(epoch), int(number)))
        return super().training_step(batch, batch_idx)

    def train_dataloader(self) -> PatchLoader:
        return PatchLoader(Positions(), 2 * BATCHES, 2)

    def val_dataloader(self) -> DataLoader:
        one = {k: v[None].float() for k, v in Positions()[1, 1].items()}
        return DataLoader([one], batch_size=None)


def train(
    folder: Path, end: Any = None, resume: Path | None = None, **trainer: Any
) -> tuple[Module, Recorder]:
    """Train with the callbacks that save, in the order of the config."""
    ema = trainer.pop("ema", False)
    stop = SaveOnStop(folder / "last.ckpt")
    last = ModelCheckpoint(folder, "last", enable_version_counter=False)
    callbacks: list[Callback] = [ExactResume(), ValidationBudget(), last, stop]
    if ema:
        callbacks.append(lightning.pytorch.callbacks.EMAWeightAveraging(decay=0.9))
    recorder = Recorder()
    store: list[Logger] = [trainer.pop("store")] if "store" in trainer else []
    fit = lightning.Trainer(
        accelerator="cpu",
        logger=[recorder, *store],
        callbacks=callbacks,
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"max_epochs": -1, **trainer},
    )
    module = Module(end and (lambda number: end(number, stop)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with clean_stop(), contextlib.suppress(Killed, KeyboardInterrupt, SystemExit):
            fit.fit(module, ckpt_path=resume)
    return module, recorder


def kill_at(step: int) -> Any:
    def end(number: int, stop: SaveOnStop) -> None:
        if number == step:
            raise Killed

    return end


def stop_at(step: int) -> Any:
    def end(number: int, stop: SaveOnStop) -> None:
        stop.stop_requested = stop.stop_requested or number == step

    return end


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level("ERROR", "lightning.pytorch"):
        yield


@pytest.mark.parametrize("end", [kill_at, stop_at])
@pytest.mark.parametrize(
    "budget",
    [
        {"max_epochs": 4},
        {"max_steps": 20},
        {"max_steps": 18},
        {"max_steps": 20, "max_epochs": 50},
        {"max_steps": 10, "accumulate_grad_batches": 2},
        {"max_epochs": 4, "accumulate_grad_batches": 2},
        {"max_steps": 20, "check_val_every_n_epoch": 2},
        {"max_epochs": 4, "check_val_every_n_epoch": 2},
        {"max_steps": 20, "val_check_interval": 0.4},
        {"max_epochs": 4, "val_check_interval": 0.4},
        {"max_steps": 20, "ema": True},
        {"max_steps": 20, "max_time": "00:01:00:00"},
    ],
    ids=lambda budget: "-".join(f"{k}={v}" for k, v in budget.items()),
)
def test_a_resumed_training_is_the_whole_one(
    tmp_path: Path, budget: dict[str, Any], end: Any
) -> None:
    whole, logged = train(tmp_path / "whole", **budget)
    expected = torch.load(tmp_path / "whole/last.ckpt", weights_only=False)
    steps = budget.get("max_steps", 4 * BATCHES)
    assert len(whole.seen) == {10: 17}.get(steps, steps)  # 3 steps of 5 batches accumulated by 2
    for step in (7, 12, 17):
        folder = tmp_path / f"{end.__name__}{step}"
        cut, before = train(folder, end(step), **budget)
        if not (folder / "last.ckpt").exists():  # killed before the first validation
            assert budget.get("check_val_every_n_epoch") == 2
            continue
        last = torch.load(folder / "last.ckpt", weights_only=False)
        done = last["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["ready"]
        assert cut.seen[:done] == whole.seen[:done]
        resumed, after = train(folder, resume=folder / "last.ckpt", **budget)
        assert resumed.seen == whole.seen[done:], step
        saved = torch.load(folder / "last.ckpt", weights_only=False)
        assert saved["global_step"] == expected["global_step"]
        for name, weight in expected["state_dict"].items():
            assert torch.equal(saved["state_dict"][name], weight), name
        assert torch.equal(resumed.backbone.conv.weight, whole.backbone.conv.weight)
        if "max_time" not in budget:  # the clock decides which validations are skipped
            assert before.values | after.values == logged.values, step


class InterruptedClient(MlflowClient):
    """A client whose store does not answer until `is_back` is set."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.is_back = threading.Event()

    def _check(self) -> None:
        if not self.is_back.is_set():
            raise ConnectionError("the store does not answer")

    def log_batch(self, *args: Any, **kwargs: Any) -> Any:
        self._check()
        return super().log_batch(*args, **kwargs)

    def get_run(self, run_id: str) -> Any:
        self._check()
        return super().get_run(run_id)

    def search_experiments(self, *args: Any, **kwargs: Any) -> Any:
        self._check()
        return super().search_experiments(*args, **kwargs)


@pytest.mark.parametrize("away", [False, True], ids=["sent", "still in the spool"])
def test_mlflow_holds_each_step_once(tmp_path: Path, away: bool) -> None:
    """In a store of its own: the steps of a killed training and of its resumption, twice."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    budget = {"max_steps": 18, "val_check_interval": 0.4}
    _, logged = train(tmp_path / "whole", **budget)
    output, runs = tmp_path / "out", {"runs_dir": str(tmp_path)}

    def open_run(resume: str | None) -> SpooledRun:
        config = {"resume": resume, "experiment_name": "exp", "paths": runs}
        return open_training_run(OmegaConf.create(config), output, "name", uri)

    run = open_run(None)
    client = InterruptedClient(uri)
    killed = SpooledRun(client, run.run_id, output) if away else run
    for step, ends in ((8, kill_at(8)), (6, kill_at(6)), (0, None)):
        last = output / "last.ckpt"
        store = RunLogger(uri, "exp", run.run_id)
        train(output, ends, last if last.exists() else None, store=store, **budget)
        if ends is None:
            break
        while not (away and step == 8) and (output / SPOOL_FILE).exists():
            time.sleep(0.01)  # the spool sends
        run = open_run("true")
    run.end("FINISHED")
    client.is_back.set()  # had the first process lived on, it would send its steps again
    killed.end("FINISHED")
    assert not (output / SPOOL_FILE).exists()
    names = {name for name, _ in logged.values}
    for name in names:
        history = run.client.get_metric_history(run.run_id, name)
        expected = {step: value for (key, step), value in logged.values.items() if key == name}
        assert sorted(point.step for point in history) == sorted(expected), name
        assert {point.step: point.value for point in history} == pytest.approx(expected), name


def test_a_reached_limit_of_steps_ends_a_resumed_training(tmp_path: Path) -> None:
    train(tmp_path, max_steps=10)
    resumed, _ = train(tmp_path, resume=tmp_path / "last.ckpt", max_steps=10)
    assert resumed.seen == []
    longer, _ = train(tmp_path, resume=tmp_path / "last.ckpt", max_steps=15)
    assert longer.seen == [(2, number) for number in range(0, 10, 2)]


def test_means_of_an_epoch_are_of_all_processes() -> None:
    one = EpochMeans()
    for value in (1.0, 2.0):
        one.add({"loss": torch.tensor(value)}, 2)

    def gather(own: torch.Tensor) -> torch.Tensor:
        """Add a second process: the sum of its losses, and its number of patches."""
        return torch.stack([own, torch.tensor([12.0, 2.0])])

    assert float(one.means(gather)["loss"]) == 3
    state = one.state_dict(gather)
    assert state == {"sums": {"loss": 18.0}, "patches": 6}
    resumed, other = EpochMeans(), EpochMeans()
    resumed.load_state_dict(state)
    other.load_state_dict(state, first=False)
    assert float(resumed.means()["loss"]) == 3 and other.means() == {}
