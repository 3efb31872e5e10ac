"""The best checkpoint is the latest one whose score is close enough to the best."""

from __future__ import annotations

from pathlib import Path

import lightning
import pytest
import torch
from torch.utils.data import DataLoader

from cytoloop.training.callbacks.tolerant_checkpoint import TolerantModelCheckpoint


class Scored(lightning.LightningModule):
    """A module with given scores, one for each epoch; its only weight is the epoch."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.scores = scores
        self.epoch = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        with torch.no_grad():
            self.epoch.fill_(self.current_epoch)
        return 0 * self.epoch.sum()

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.log("score", self.scores[self.current_epoch])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def kept(
    folder: Path, scores: list[float], resume: bool = False, epochs: int = 0, **rule: object
) -> tuple[int, float]:
    """Return the epoch of the checkpoint that is kept, and its score."""
    best = TolerantModelCheckpoint(
        monitor="score", dirpath=folder, filename="best", enable_version_counter=False,
        **{"mode": "max", **rule},
    )  # fmt: skip
    last = lightning.pytorch.callbacks.ModelCheckpoint(
        dirpath=folder, filename="last", enable_version_counter=False
    )
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=epochs or len(scores),
        logger=False,
        callbacks=[best, last],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    data = DataLoader(torch.ones(1, 1))
    trainer.fit(Scored(scores), data, data, ckpt_path=folder / "last.ckpt" if resume else None)
    content = torch.load(folder / "best.ckpt", weights_only=True)
    return int(content["state_dict"]["epoch"]), float(best.best_model_score or 0)


@pytest.mark.parametrize(
    "scores, rule, epoch",
    [
        ([0.5, 0.6, 0.59, 0.55, 0.565, 0.53], {}, 4),  # 0.56 is as good as 0.6
        ([0.5, 0.6, 0.59, 0.57, 0.585, 0.55], {"tolerance": 0.05}, 4),  # 0.58 is
        ([0.5, 0.6, 0.59, 0.57, 0.585, 0.55], {"tolerance": 0.0}, 1),
        ([0.90, 0.95, 0.943, 0.946, 0.944], {}, 3),  # 0.945 is as good as 0.95
        ([0.3, 0.4, 0.5], {}, 2),
        ([1.0, 0.999, 1.0, 0.9], {}, 2),
        ([0.4, 0.38, float("nan"), 0.2], {}, 1),
        ([0.4, 0.38, 0.39, 0.5], {"mode": "min"}, 1),
    ],
)
def test_a_score_within_the_tolerance_is_as_good_as_the_best(
    tmp_path: Path, scores: list[float], rule: dict, epoch: int
) -> None:
    assert kept(tmp_path, scores, **rule) == (epoch, pytest.approx(scores[epoch]))


def test_the_tolerance_is_measured_from_the_best_score_also_after_a_resume(tmp_path: Path) -> None:
    scores = [0.6, 0.58, 0.561, 0.555, 0.54, 0.52]
    assert kept(tmp_path / "whole", scores) == (2, pytest.approx(0.561))
    kept(tmp_path / "cut", scores, epochs=2)
    assert kept(tmp_path / "cut", scores, resume=True) == (2, pytest.approx(0.561))
