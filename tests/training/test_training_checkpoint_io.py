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


def test_the_last_state_but_one_is_kept(tmp_path: Path) -> None:
    disk = AtomicCheckpointIO()
    for step in (1, 2, 3):
        disk.save_checkpoint(content(step), tmp_path / "checkpoints" / LAST)
        disk.save_checkpoint(content(step), tmp_path / "checkpoints" / "best.ckpt")
    folder = tmp_path / "checkpoints"
    assert (step_of(folder / LAST), step_of(folder / PREVIOUS)) == (3, 2)
    assert {p.name for p in folder.iterdir()} == {LAST, PREVIOUS, "best.ckpt"}
    assert find_last_checkpoint(folder) == folder / LAST


def test_a_state_that_cannot_be_written_leaves_the_former_ones(tmp_path: Path) -> None:
    disk = AtomicCheckpointIO()
    disk.save_checkpoint(content(1), tmp_path / LAST)
    with pytest.raises((AttributeError, TypeError, RuntimeError)):
        disk.save_checkpoint({"bad": (n for n in range(3))}, tmp_path / LAST)
    assert step_of(tmp_path / LAST) == 1 and [p.name for p in tmp_path.iterdir()] == [LAST]


@pytest.mark.parametrize("damage", ["truncated", "empty", "missing"])
def test_a_damaged_last_state_gives_way_to_the_one_before(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    disk = AtomicCheckpointIO()
    for step in (1, 2):
        disk.save_checkpoint(content(step), tmp_path / LAST)
    data = (tmp_path / LAST).read_bytes()
    if damage == "missing":
        (tmp_path / LAST).unlink()
    else:
        (tmp_path / LAST).write_bytes(data[: len(data) // 2] if damage == "truncated" else b"")
    caplog.set_level(logging.WARNING)
    assert find_last_checkpoint(tmp_path) == tmp_path / PREVIOUS
    assert "last.ckpt" in caplog.text and "going on from last-1.ckpt" in caplog.text


def test_no_sound_state_is_told(tmp_path: Path) -> None:
    (tmp_path / LAST).write_bytes(b"PK rubbish")
    with pytest.raises(ModelError, match=r"2 problems\n.*last.ckpt.*\n.*last-1.ckpt"):
        find_last_checkpoint(tmp_path)
