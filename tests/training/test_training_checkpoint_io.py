from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from cytoloop.errors import ModelError
from cytoloop.training.checkpoint_io import LAST, PREVIOUS, AtomicCheckpointIO, find_last_checkpoint


def content(step: int) -> dict[str, Any]:
    return {"state_dict": {"w": torch.full((100,), float(step))}, "global_step": step}


def step_of(path: Path) -> int:
    return int(torch.load(path, weights_only=True)["global_step"])


def test_the_previous_checkpoint_is_kept(tmp_path: Path) -> None:
    checkpoint_io = AtomicCheckpointIO()
    for step in (1, 2, 3):
        checkpoint_io.save_checkpoint(content(step), tmp_path / "checkpoints" / LAST)
        checkpoint_io.save_checkpoint(content(step), tmp_path / "checkpoints" / "best.ckpt")
    folder = tmp_path / "checkpoints"
    assert (step_of(folder / LAST), step_of(folder / PREVIOUS)) == (3, 2)
    assert {p.name for p in folder.iterdir()} == {LAST, PREVIOUS, "best.ckpt"}
    assert find_last_checkpoint(folder) == folder / LAST


def test_a_failed_save_keeps_the_former_checkpoint(tmp_path: Path) -> None:
    checkpoint_io = AtomicCheckpointIO()
    checkpoint_io.save_checkpoint(content(1), tmp_path / LAST)
    with pytest.raises((AttributeError, TypeError, RuntimeError)):
        checkpoint_io.save_checkpoint({"bad": (n for n in range(3))}, tmp_path / LAST)
    assert step_of(tmp_path / LAST) == 1 and [p.name for p in tmp_path.iterdir()] == [LAST]


@pytest.mark.parametrize("damage", ["truncated", "empty", "missing"])
def test_a_damaged_checkpoint_is_replaced_by_the_previous_one(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint_io = AtomicCheckpointIO()
    for step in (1, 2):
        checkpoint_io.save_checkpoint(content(step), tmp_path / LAST)
    data = (tmp_path / LAST).read_bytes()
    if damage == "missing":
        (tmp_path / LAST).unlink()
    else:
        (tmp_path / LAST).write_bytes(data[: len(data) // 2] if damage == "truncated" else b"")
    caplog.set_level(logging.WARNING)
    assert find_last_checkpoint(tmp_path) == tmp_path / PREVIOUS
    assert "last.ckpt" in caplog.text and "resuming from last-1.ckpt" in caplog.text


def test_both_damaged_checkpoints_are_reported(tmp_path: Path) -> None:
    (tmp_path / LAST).write_bytes(b"PK rubbish")
    with pytest.raises(ModelError, match=r"2 problems\n.*last.ckpt.*\n.*last-1.ckpt"):
        find_last_checkpoint(tmp_path)
