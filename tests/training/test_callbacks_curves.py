"""Learning curves, and the Dice of training patches that they show."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cytoloop.model.heads import Head
from cytoloop.model.losses import DiceCELoss
from cytoloop.model.module import SegmentationModule
from cytoloop.training.callbacks import curves
from cytoloop.training.callbacks.curves import Curves, draw_curves


def lines() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{"event": "start", "step": 0}]
    for step in range(10, 50, 10):
        found.append({"event": "step", "step": step, "loss": 1 - step / 100, "dice": step / 100})
        scores = {"val/loss": abs(step - 20), "val/dice": step / 60, "val/iou": step / 70}
        scores["val/pq"] = 0.7 - abs(step - 30) / 100
        found.append({"event": "validation", "step": step, "scores": scores})
    return [*found, {"event": "end", "step": 40}]


def drawn(monitor: str) -> list[dict[str, tuple[list, list]]]:
    """Return the points of each curve by its label, for the left and the right axes."""
    return [
        {
            str(one.get_label()): (list(one.get_xdata()), list(one.get_ydata()))
            for one in axis.get_lines()
        }
        for axis in draw_curves(lines(), monitor).axes
    ]


def test_losses_are_on_the_left_and_scores_on_the_right() -> None:
    left, right = drawn("val/dice")
    steps = [10, 20, 30, 40]
    assert left["training"] == (steps, pytest.approx([0.9, 0.8, 0.7, 0.6]))
    assert left["validation"] == (steps, [10, 0, 10, 20])
    assert right["dice, training patches"] == (steps, pytest.approx([0.1, 0.2, 0.3, 0.4]))
    assert right["dice"] == (steps, pytest.approx([step / 60 for step in steps]))
    assert set(right) == {"dice, training patches", "dice", "iou", "best dice 0.667"}
    assert right["best dice 0.667"][0] == [40]


def test_the_best_value_of_the_monitored_score_is_marked() -> None:
    left, right = drawn("val/pq")
    assert right["best pq 0.700"] == ([30], [0.7]) and "pq" in right and "iou" not in right
    left, right = drawn("val/loss")
    assert left["best loss 0.000"] == ([20], [0]) and not any("best" in name for name in right)


def test_loss_curves_and_dice_score_over_epochs_are_drawn_during_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Path] = []
    logger = SimpleNamespace(log_files=lambda paths, folder: sent.extend(paths))
    trainer: Any = SimpleNamespace(is_global_zero=True, loggers=[logger])
    (tmp_path / "progress.jsonl").write_text("\n".join(map(json.dumps, lines())))
    callback = Curves(tmp_path / "progress.jsonl", tmp_path / "curves.png")
    callback.on_validation_end(trainer, SimpleNamespace())  # type: ignore[arg-type]
    assert not callback.path.exists()
    monkeypatch.setattr(curves, "_EVERY", 0.0)
    callback.on_validation_end(trainer, SimpleNamespace())  # type: ignore[arg-type]
    assert callback.path.is_file() and not sent
    callback.on_train_end(trainer, SimpleNamespace())  # type: ignore[arg-type]
    assert sent == [callback.path]


@pytest.mark.parametrize("classes", [0, 2])
def test_dice_of_training_patches_ignores_excluded_voxels(classes: int) -> None:
    names = [f"class_{name}" for name in "ab"] if classes else ["foreground", "distance"]
    module = SegmentationModule(
        backbone=torch.nn.Identity(),
        task_heads={name: Head(DiceCELoss()) for name in names},
        inferer=None,
        image={"spatial_dims": 2, "heads": names},
    )
    module.log = module.log_dict = lambda *_, **__: None  # type: ignore[assignment,method-assign]
    true = torch.zeros(1, 2, 4, 4)
    true[:, :, :2] = 1
    logits = torch.full((1, 2, 4, 4), -5.0)
    logits[:, 0, :1], logits[:, 1] = 5.0, 5.0  # predicted: 4 of 8 voxels; all 16 voxels
    batch = {"image": logits, "target": true, "weight": torch.ones(1, 1, 4, 4)}
    found = module.training_step(batch, 0)["dice"]
    first, second = 2 * 4 / (8 + 4), 2 * 8 / (8 + 16)
    assert found == pytest.approx((first + second) / 2 if classes else first)
    batch["weight"][..., 1:4, :] = 0
    found = module.training_step(batch, 0)["dice"]
    assert found == pytest.approx(1.0)
    batch["weight"][:] = 0
    assert module.training_step(batch, 0)["dice"] == 1
