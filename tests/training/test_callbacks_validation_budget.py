"""Validation takes a limited fraction of a budget in minutes."""

import time
from datetime import timedelta

import lightning
import pytest
import torch
from torch.utils.data import DataLoader

from cytoloop.training.callbacks.validation_budget import ValidationBudget


class Slow(lightning.LightningModule):
    """A training step takes 0.02 s, a validation 0.25 s."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.validated: list[int] = []

    def training_step(self, batch, batch_idx):
        time.sleep(0.02)
        return (self.weight * batch).mean()

    def validation_step(self, batch, batch_idx):
        time.sleep(0.25)
        self.validated.append(self.global_step)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def _fit(tmp_path, fraction: float, **budget) -> Slow:
    module = Slow()
    trainer = lightning.Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[ValidationBudget(fraction)],
        **budget,
    )
    trainer.fit(module, DataLoader(torch.ones(5, 1)), DataLoader(torch.ones(1, 1)))
    return module


@pytest.mark.parametrize("fraction", [0.1, 0.2])
def test_validation_takes_its_fraction_of_the_minutes(tmp_path, fraction):
    module = _fit(tmp_path, fraction, max_epochs=-1, max_time=timedelta(seconds=5))
    first, last = module.validated[0], module.validated[-1]
    assert first == 5  # an early checkpoint
    assert last == max(module.validated) > 20  # a checkpoint of the end
    # the first and the last validation are not limited
    assert 2 <= len(module.validated) <= fraction * 5 / 0.25 + 3
    assert len(module.validated) >= fraction * 5 / 0.25 - 1


def test_the_end_is_always_validated_and_budgets_in_epochs_are_not_limited(tmp_path):
    module = _fit(tmp_path, 0.01, max_epochs=-1, max_time=timedelta(seconds=2))
    assert len(module.validated) == 2
    assert module.validated[0] == 5 < module.validated[1]
    module = _fit(tmp_path, 0.01, max_epochs=3)
    assert module.validated == [5, 10, 15]
    module = _fit(tmp_path, 0.01, max_epochs=4, check_val_every_n_epoch=3)
    assert module.validated == [15, 20]


@pytest.mark.parametrize("every, validated", [(1, [5, 10, 13]), (3, [13])])
def test_a_budget_in_steps_that_ends_inside_an_epoch_is_validated(tmp_path, every, validated):
    budget = {"max_epochs": -1, "max_steps": 13, "check_val_every_n_epoch": every}
    assert _fit(tmp_path, 0.01, **budget).validated == validated
