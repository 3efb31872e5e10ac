"""The callback that ends a training whose loss or weights are not finite."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from cytoloop.errors import ModelError
from cytoloop.training.callbacks.terminate_on_nan import TerminateOnNaN


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
