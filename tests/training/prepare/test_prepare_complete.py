"""A config is completed from the data, the parent model and the hardware."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from cytoloop.errors import ConfigError
from cytoloop.training.prepare.complete import complete


def config(**changes: Any) -> Any:
    return OmegaConf.create(
        {
            "spatial_dims": None,
            "in_channels": None,
            "budget_minutes": None,
            "resume": None,
            "model": {"image": {"channel_names": [], "spacing_um": None}},
            "trainer": {"precision": "32", "accelerator": "cpu", "max_epochs": 5, "max_time": None},
            "callbacks": {},
            "checkpoint": {"ckpt_path": None},
        }
        | changes
    )


FACTS: Any = SimpleNamespace(
    spatial_dims=3,
    channels=("DNA",),
    spacing_um=(2.0, 0.5, 0.5),
    object_voxels=50.0,
    planes=False,
)


def test_the_config_is_completed_from_the_data() -> None:
    cfg = config(budget_minutes=1.5)
    cfg = complete(cfg, FACTS, init_from=Path("a.ckpt"))
    assert cfg.spatial_dims == 3 and cfg.in_channels == 1
    assert cfg.model.image.spacing_um == [2.0, 0.5, 0.5]
    assert cfg.trainer.max_time == "00:00:01:30" and cfg.trainer.max_epochs == -1
    assert cfg.callbacks.warm_start.path == "a.ckpt"


def test_a_resumed_run_does_not_start_from_its_parent_again(tmp_path: Path) -> None:
    last = tmp_path / "checkpoints" / "last.ckpt"
    last.parent.mkdir()
    torch.save({"state_dict": {}}, last)
    cfg = config(resume=str(tmp_path))
    cfg = complete(cfg, FACTS, init_from=Path("a.ckpt"))
    assert "warm_start" not in cfg.callbacks
    assert cfg.checkpoint.ckpt_path == str(last)


def test_values_that_contradict_the_data_are_refused() -> None:
    with pytest.raises(ConfigError, match="is 2 but the images have 3"):
        complete(config(spatial_dims=2), FACTS)


def test_targets_heads_and_channels_that_are_not_each_others_are_refused() -> None:
    model = {
        "image": {"channel_names": [], "spacing_um": None, "heads": ["foreground", "distance"]},
        "task_heads": {"seg": {}},
        "backbone": {"out_channels": 3},
    }
    with pytest.raises(ConfigError, match="3 problems") as caught:
        complete(config(model=model, data={"heads": ["distance", "foreground"]}), FACTS)
    for part in ("data.heads is", "task_heads has 1 heads", "out_channels is 3"):
        assert part in str(caught.value)
