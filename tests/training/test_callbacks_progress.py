"""Progress is measured once: terminal, file and loggers show the same numbers."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from rich.console import Console
from torch.utils.data import DataLoader

from cytoloop.training.callbacks.progress import Progress
from cytoloop.training.callbacks.progress_bar import ProgressBar, format_time_left
from cytoloop.training.callbacks.step_timer import StepTimer


class Tiny(lightning.LightningModule):
    """One weight; the learning rate halves after every step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def budget_spent(self) -> float:
        return self.global_step / 10

    def training_step(self, batch: dict, batch_idx: int) -> dict[str, torch.Tensor]:
        return {"loss": (self.weight * batch["image"]).mean(), "dice": torch.tensor(0.25)}

    def validation_step(self, batch: dict, batch_idx: int) -> None:
        self.log("val/dice", self.global_step / 10)
        self.log("val/loss", float("nan"))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.8)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def fit(folder: Path) -> tuple[list[dict], list[dict]]:
    """Train for two epochs of five steps; return the lines of progress.jsonl and the metrics."""
    images = [{"image": torch.full((1,), float(n))} for n in range(10)]
    data = DataLoader(images, batch_size=2)  # type: ignore[arg-type]
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=CSVLogger(folder, name="", version=""),
        callbacks=[Progress(folder / "progress.jsonl", every_n_steps=2)],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
    )
    trainer.fit(Tiny(), data, data)
    lines = [json.loads(line) for line in (folder / "progress.jsonl").read_text().splitlines()]
    with (folder / "metrics.csv").open(newline="") as file:
        return lines, list(csv.DictReader(file))


def test_the_file_has_a_line_for_each_event(tmp_path: Path) -> None:
    lines, _ = fit(tmp_path)
    events = [(line["event"], line["epoch"], line["step"]) for line in lines]
    first = [("start", 0, 0), ("step", 0, 2), ("step", 0, 4), ("validation", 0, 5)]
    second = [("step", 1, 6), ("step", 1, 8), ("step", 1, 10), ("validation", 1, 10)]
    assert events == [*first, *second, ("end", 2, 10)]
    common = ["event", "epoch", "epochs", "step", "seconds", "spent", "seconds_left", "data_wait"]
    assert list(lines[1]) == [*common, "loss", "dice", "lr"]
    assert list(lines[3]) == [*common, "scores"]
    assert lines[3]["scores"] == {"val/dice": 0.5, "val/loss": None}  # JSON has no NaN
    assert [line["spent"] for line in lines[:4]] == [0, 0.2, 0.4, 0.5]
    assert {line["epochs"] for line in lines} == {2}
    assert lines[0]["seconds_left"] is None and lines[-1]["seconds_left"] == 0


def test_loggers_get_the_numbers_of_the_file(tmp_path: Path) -> None:
    lines, metrics = fit(tmp_path)
    rates = [float(row["train/lr"]) for row in metrics if row["train/lr"]]
    assert rates == pytest.approx([0.8 * 0.5**step for step in range(1, 11)])
    steps = [line for line in lines if line["event"] == "step"]
    assert [line["lr"] for line in steps] == pytest.approx(rates[1::2])
    waits = [float(row["train/data_wait"]) for row in metrics if row["train/data_wait"]]
    assert len(waits) == 2 and waits[-1] == pytest.approx(lines[-1]["data_wait"], abs=1e-4)
    speeds = [row["system/patches_per_s"] for row in metrics if row["system/patches_per_s"]]
    peaks = [row["system/memory_peak_gib"] for row in metrics if row["system/memory_peak_gib"]]
    assert len(speeds) == len(peaks) == 2 and all(0.01 < float(peak) < 100 for peak in peaks)


@pytest.mark.parametrize("mode, scores, expected", [("max", [1, 3, 2], 3), ("min", [1, 3, 0], 0)])
def test_a_resumed_run_knows_the_best_score(
    tmp_path: Path, mode: str, scores: list[float], expected: float
) -> None:
    progress = Progress(tmp_path / "progress.jsonl", "val/x", mode)
    module: Any = SimpleNamespace(budget_spent=lambda: 0.1)
    for score in scores:
        trainer: Any = SimpleNamespace(
            callback_metrics={"val/x": torch.tensor(score)},
            sanity_checking=False,
            is_global_zero=True,
            max_epochs=3,
            current_epoch=0,
            global_step=1,
        )
        progress.on_validation_end(trainer, module)
    assert progress.state_dict() == {"best": expected}
    resumed = Progress(tmp_path / "progress.jsonl", "val/x", mode)
    resumed.load_state_dict(progress.state_dict())
    assert resumed.state_dict() == {"best": expected}


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_current_epoch_total_epochs_progress_bar_real_time_metrics_fit_the_terminal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, width: int
) -> None:
    console = Console(width=width, record=True, file=io.StringIO(), force_terminal=True)
    for module in ("cytoloop.terminal", "cytoloop.training.callbacks.progress_bar"):
        monkeypatch.setattr(f"{module}.stderr_console", console)
    drawn: list[str] = []

    def draw(bar: ProgressBar, *args: Any) -> None:
        update(bar, *args)
        assert bar._progress is not None
        plain = Console(width=width, record=True, file=io.StringIO(), color_system=None)
        plain.print(bar._progress.get_renderable())
        drawn.extend(plain.export_text().splitlines())

    update = ProgressBar.update
    monkeypatch.setattr(ProgressBar, "update", draw)
    trained: Any = SimpleNamespace(budget_spent=lambda: 123456 / 200000)
    trainer: Any = SimpleNamespace(
        callback_metrics={"val/loss": torch.tensor(0.4), "val/dice": torch.tensor(0.75)},
        sanity_checking=False, max_epochs=1000, current_epoch=500,
        global_step=123456, is_global_zero=True,
    )  # fmt: skip
    progress = Progress(tmp_path / "progress.jsonl", "val/dice")
    progress.load_state_dict({"best": 0.5})
    progress.on_train_start(trainer, trained)
    progress.on_validation_start(trainer, trained)
    progress.on_train_end(trainer, trained)
    assert not progress.bar.is_shown
    (line,) = drawn
    assert line.startswith("validating ") and "…" not in line and len(line.rstrip()) <= width
    assert ("epoch 501/1000" in line) == (width > 40)
    assert ("loss - (val 0.400)" in line) == (width > 60)
    assert ("dice - (val 0.750)" in line) == (width == 120)


@pytest.mark.parametrize(
    "seconds, expected",
    [(None, ""), (89.4, "89 s left"), (90, "2 min left"), (5400, "1.5 h left")],
)
def test_the_time_left_is_rounded(seconds: float | None, expected: str) -> None:
    assert format_time_left(seconds) == expected


def test_data_wait_is_the_fraction_of_time_between_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("cytoloop.training.callbacks.step_timer.time.perf_counter", lambda: now[0])
    timer = StepTimer()
    assert timer.data_wait == 0
    for waiting, working in ((5, 3), (1, 3), (1, 3)):
        now[0] += waiting  # before the first batch the workers start: not counted
        timer.start_step()
        now[0] += working
        timer.end_step()
    assert timer.data_wait == pytest.approx(2 / 11) and timer.total == pytest.approx(11)
    timer.pause()  # validation
    now[0] += 100
    timer.start_step()
    assert timer.data_wait == pytest.approx(2 / 11)
