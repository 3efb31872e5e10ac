from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from cytoloop.errors import ConfigError, ModelError
from cytoloop.training import processes
from cytoloop.training.callbacks.terminate_on_nan import TerminateOnNaN
from cytoloop.training.processes import other_processes, process_count


def count(**trainer: Any) -> int:
    return process_count(OmegaConf.create({"accelerator": "cpu", **trainer}))


def test_there_is_one_process_for_each_device() -> None:
    assert count() == count(devices=1) == count(devices="auto") == count(devices=-1) == 1
    assert count(devices=2, strategy="ddp") == count(devices="2") == count(devices=[0, 1]) == 2


def test_strategies_that_start_processes_are_refused() -> None:
    with pytest.raises(ConfigError, match="3 problems") as caught:
        count(devices=1000, strategy="ddp_spawn", num_nodes=2)
    for part in ("strategy is ddp_spawn", "num_nodes is 2", "devices is 1000"):
        assert part in str(caught.value)


def test_a_process_that_does_not_start_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = OmegaConf.create({"trainer": {"accelerator": "cpu", "devices": 2}})
    for program, reason in (
        ("false", r"process 1: exit status 1\n.*process-1.log"),
        ("true", "process 1: ended before it was ready"),
    ):
        monkeypatch.setattr(processes.sys, "executable", program)
        with pytest.raises(ModelError, match=reason), other_processes(cfg, tmp_path):
            raise AssertionError("started without the other process")
    assert "LOCAL_RANK" not in os.environ


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_error_of_a_loss_that_is_not_finite_names_the_images(value: float) -> None:
    trainer: Any = OmegaConf.create({"global_step": 7})
    callback = TerminateOnNaN()
    callback.on_train_batch_start(trainer, None, {"id": ["b", "a", "b"]}, 0)  # type: ignore
    callback.on_before_backward(trainer, None, torch.tensor(1.0))  # type: ignore
    with pytest.raises(ModelError, match=r"step 7: the loss is (nan|inf) \(images .*: b, a\)"):
        callback.on_before_backward(trainer, None, torch.tensor(value))  # type: ignore
    weights = {"state_dict": {"count": torch.tensor(3), "w": torch.tensor([1.0, value])}}
    with pytest.raises(ModelError, match="1 weights are NaN or infinite, first w"):
        callback.on_save_checkpoint(trainer, None, weights)  # type: ignore
