"""Scores of centrelines during training, and the checkpoint that they select."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from torch.utils.data import DataLoader

from cytoloop.__main__ import main
from cytoloop.training.callbacks.filament_scores import FilamentScores, filament_scores
from cytoloop.training.callbacks.tolerant_checkpoint import TolerantModelCheckpoint

EVERYWHERE = np.ones((40, 90), bool)


def line(width: int = 5, gaps: int = 0) -> np.ndarray:
    """Return the mask of a horizontal line, interrupted by narrow gaps."""
    mask = np.zeros(EVERYWHERE.shape, bool)
    mask[20 - width // 2 : 20 + width // 2 + 1, 3:87] = True
    for place in np.linspace(3, 87, gaps + 2).astype(int)[1:-1]:
        mask[:, place : place + 2] = False
    return mask


def test_a_break_costs_more_than_a_wide_outline() -> None:
    thick, broken = (filament_scores(line(), p, EVERYWHERE) for p in (line(7), line(5, gaps=5)))
    assert thick["val/cldice"] == 1
    assert thick["val/filaments"] == pytest.approx((1 + 2 * 5 / 12) / 2, abs=0.01)
    recall = 70 / 80  # of the centreline; its ends are a little shorter than the line
    assert broken["val/cldice"] == pytest.approx(2 * recall / (1 + recall), abs=0.02)


def test_excluded_voxels_do_not_count() -> None:
    valid = EVERYWHERE.copy()
    valid[:, 40:] = False
    half = line() & valid
    assert filament_scores(line(), half, valid)["val/filaments"] == pytest.approx(1, abs=0.02)
    assert filament_scores(line(), half, EVERYWHERE)["val/filaments"] < 0.7


def test_without_thin_truth_the_score_is_dice() -> None:
    disk = np.hypot(*(np.indices(EVERYWHERE.shape) - 20)) < 12
    for truth in (disk, np.zeros_like(disk)):
        scores = filament_scores(truth, disk, EVERYWHERE)
        dice = float(truth.any())
        assert scores == {"val/cldice": dice, "val/filaments": dice}


class Predicts(lightning.LightningModule):
    """A module with a given prediction for each epoch; its only weight is the epoch."""

    def __init__(self, predictions: list[np.ndarray], heads: list[str]) -> None:
        super().__init__()
        self.save_hyperparameters({"image": {"heads": heads}})
        self.predictions = predictions
        self.epoch = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        with torch.no_grad():
            self.epoch.fill_(self.current_epoch)
        return 0 * self.epoch.sum()

    def validation_step(self, batch: Any, batch_idx: int) -> dict[str, torch.Tensor]:
        values = torch.from_numpy(self.predictions[self.current_epoch] * 0.9)[None, None]
        truth, found = batch["labels"][0] > 0, values[0, 0] > 0.5
        self.log("val/dice", 2.0 * (truth & found).sum() / (truth.sum() + found.sum()))
        names = self.hparams["image"]["heads"]
        return {name: values if n == 0 else 0 * values for n, name in enumerate(names)}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def kept(folder: Path, monitor: str, heads: list[str]) -> tuple[int, float]:
    """Return the epoch that is kept of two: broken lines, and whole ones that are wider."""
    best = TolerantModelCheckpoint(
        tolerance=0, monitor=monitor, mode="max", dirpath=folder, enable_version_counter=False
    )
    trainer = lightning.Trainer(
        accelerator="cpu", max_epochs=2, logger=False, callbacks=[FilamentScores(), best],
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    truth = torch.from_numpy(line().astype(np.int32))
    weight = torch.ones(1, *truth.shape)
    batches = [{"labels": truth, "weight": weight}, {"labels": truth, "weight": weight}]
    module = Predicts([line(5, gaps=10), line(7)], heads)
    trainer.fit(module, DataLoader(torch.ones(1, 1)), DataLoader(batches))  # type: ignore[arg-type]
    epoch = torch.load(best.best_model_path, weights_only=True)["state_dict"]["epoch"]
    return int(epoch), float(trainer.callback_metrics["val/filaments"])


@pytest.mark.parametrize("heads", [["foreground"], ["class_a", "class_b"]])
def test_whole_lines_are_kept_although_broken_ones_have_more_dice(
    heads: list[str], tmp_path: Path
) -> None:
    expected = filament_scores(line(), line(7), EVERYWHERE)["val/filaments"]
    assert kept(tmp_path, "val/filaments", heads) == (1, pytest.approx(expected))
    assert kept(tmp_path, "val/dice", heads)[0] == 0


def test_the_recipe_selects_by_centrelines_and_keeps_small_pieces(
    tmp_path: Path, tiff: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    mask = np.zeros((64, 64), bool)
    mask[8:57:12, 2:62] = mask[9:58:12, 2:62] = True
    with Path("all.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "raw", "seg1", "split"))
        for name, split in (("a", "train"), ("b", "valid")):
            raw = tiff(
                Path("raw", f"{name}.tif"),
                (100 * mask + rng.normal(100, 9, mask.shape)).astype(np.uint16),
            )
            writer.writerow(
                (name, raw, tiff(Path("seg", f"{name}.tif"), mask.astype(np.uint8)), split)
            )
    assert main(["curate", "raw=all.csv", "split.leakage=allow", "output=data"]) == 0
    words = ["model/size=small", "trainer.max_epochs=1", "data.steps_per_epoch=2", "tune=false"]
    assert main(["train", "experiment=auto", "data.path=data", "output=run", *words]) == 0
    run = MlflowClient("sqlite:///mlflow.db").get_run(Path("run/run_id").read_text().strip()).data
    assert run.params["callbacks.best.monitor"] == "val/filaments"
    dice, cldice, both = (run.metrics[f"val/{name}"] for name in ("dice", "cldice", "filaments"))
    assert both == pytest.approx((dice + cldice) / 2) and cldice != dice
    image = torch.load("run/checkpoints/best.ckpt", weights_only=True)["hyper_parameters"]["image"]
    assert image["object_voxels"] == 0  # prediction keeps all pieces that are no noise
