from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.networks.nets import DynUNet


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a maker of checkpoints with random weights, without instance statistics.

    Batch norm in evaluation is a fixed scale: a window's answer does not depend on its size.
    """

    def make(
        ndim: int = 3, patch: Any = None, seed: int = 0, channels: int = 1, **image: Any
    ) -> Path:
        torch.manual_seed(seed)
        backbone = {
            "spatial_dims": ndim, "in_channels": channels, "out_channels": 1,
            "strides": [1, 1, 2], "kernel_size": [3] * 3, "upsample_kernel_size": [1, 2],
            "filters": [4, 4, 8], "norm_name": "batch",
        }  # fmt: skip
        network = DynUNet(**backbone)
        facts = {
            "spatial_dims": ndim,
            "channels": channels,
            "channel_names": [],
            "spacing_um": [1.0, 0.5, 0.5],
            "patch_size": patch or [8, 32, 32][-ndim:],
            "normalization": {"method": "percentile", "lower": 1.0, "upper": 99.8},
            "object_voxels": 0,
            **image,
        }
        content = {
            "state_dict": {f"backbone.{k}": v for k, v in network.state_dict().items()},
            "hyper_parameters": {
                "backbone": {"_target_": "monai.networks.nets.DynUNet", **backbone},
                "image": facts,
            },
            "epoch": 1,
            "global_step": 2,
        }
        path = tmp_path_factory.mktemp("model") / "best.ckpt"
        torch.save(content, path)
        return path

    return make
