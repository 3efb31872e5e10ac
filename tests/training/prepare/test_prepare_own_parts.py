"""Parts of the user in a config: completed, built once, and refused before anything is spent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module

from cytoloop.errors import ConfigError, CytoloopError
from cytoloop.training.prepare.config import with_values
from cytoloop.training.prepare.dry_run import build_every_part
from cytoloop.training.prepare.own_parts import (
    complete_own_parts,
    own_packages,
    trusting_config,
)

LAB = '''
import torch
from lightning import Callback
from torch import nn

class Net(nn.Module):
    """Halves and doubles the image."""
    def __init__(self, spatial_dims, in_channels, out_channels, width=4):
        super().__init__()
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[spatial_dims]
        self.down = conv(in_channels, width, 3, stride=2, padding=1)
        self.up = nn.Upsample(scale_factor=2)
        self.out = conv(width, out_channels, 1)

    def forward(self, x):
        return self.out(self.up(self.down(x).relu()))

class Fixed(Net):
    def forward(self, x):
        if x.shape[-1] != 16:
            raise ValueError("takes 16 columns")
        return super().forward(x)

class Cut(Net):
    def forward(self, x):
        return super().forward(x)[..., 1:]

class Tuple(Net):
    def forward(self, x):
        return {"logits": super().forward(x)}

class Mean(nn.Module):
    def forward(self, logits, target):
        return target.mean()

class Rough(nn.Module):
    def forward(self, logits, target):
        return (logits.sigmoid().diff(dim=-1) - target.diff(dim=-1)).abs().mean()

class Angry:
    def __init__(self, *args, **kwargs):
        raise KeyError("no luck")

class Logs(Callback):
    logs = ("val/mine",)

class Plateau(torch.optim.lr_scheduler.ReduceLROnPlateau):
    pass

class Descent(torch.optim.Optimizer):
    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr})

    def step(self, closure=None):
        return closure() if closure else None

class Halving(torch.optim.lr_scheduler.LRScheduler):
    def __init__(self, optimizer, every=10):
        self.every = every
        super().__init__(optimizer)

    def get_lr(self):
        return [lr * 0.5 ** (self.last_epoch // self.every) for lr in self.base_lrs]

class Crop:
    def __call__(self, image):
        return image[..., 1:]

class Root:
    def __call__(self, image):
        return abs(image) ** 0.5
'''
BASE = ["model=unet", "data.path=none", "output=out", "paths.output_dir=out"]
NET = "model.backbone._target_=my_lab_parts.Net"


@pytest.fixture(autouse=True)
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_lab_parts.py").write_text(LAB)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("CYTOLOOP_TRUST", raising=False)
    monkeypatch.chdir(tmp_path)


def config(*words: str, patch: tuple[int, ...] = (16, 16)) -> Any:
    """Return a complete config, as after the plan, without a data set."""
    with initialize_config_module("cytoloop.configs", version_base="1.3"):
        cfg = compose("train", [*BASE, *words])
    cfg = complete_own_parts(cfg)
    known = {
        "spatial_dims": len(patch), "in_channels": 1, "data.patch_size": list(patch),
        "data.batch_size": 2, "data.foreground_fraction": 0.5, "normalization.lower": 1.0,
        "normalization.upper": 99.0, "trainer.precision": "32", "model.image.object_voxels": 9.0,
    }  # fmt: skip
    return with_values(cfg, known)


def build(*words: str, patch: tuple[int, ...] = (16, 16), **more: Any) -> None:
    cfg = config(*words, patch=patch)
    with trusting_config(cfg):
        build_every_part(cfg, **more)


@pytest.mark.parametrize("patch", [(16, 16), (4, 16, 16)])
def test_own_network_replaces_the_arguments_of_the_default(patch: tuple[int, ...]) -> None:
    cfg = config(NET, "+model.backbone.width=2", patch=patch)
    assert set(cfg.model.backbone) == {
        "_target_", "spatial_dims", "in_channels", "out_channels", "width"
    }  # fmt: skip
    assert cfg.model.inferer.strides is None
    assert own_packages(cfg) == ["my_lab_parts"]
    build(NET, "+model.backbone.width=2", patch=patch, largest=[2 * n for n in patch])


def test_default_network_keeps_its_arguments() -> None:
    cfg = config()
    assert cfg.model.backbone.strides == "auto" and own_packages(cfg) == []


@pytest.mark.parametrize(
    ("words", "where", "found"),
    [
        (["model.backbone._target_=my_lab_parts.Nut"], "model.backbone", "is not found"),
        ([NET, "+model.backbone.depth=2"], "model", "unexpected keyword argument 'depth'"),
        (["model.backbone._target_=my_lab_parts.Cut"], "model.backbone", r"shape \[2, 1, 16, 15\]"),
        (["model.backbone._target_=my_lab_parts.Tuple"], "model.backbone", "returns dict"),
        ([NET, "model.task_heads.seg.loss._target_=my_lab_parts.Mean"],
         "model.task_heads.seg.loss", "does not depend on the logits"),
        ([NET, "model.task_heads.seg.loss._target_=torch.nn.CrossEntropyLoss"],
         "model.task_heads.seg.loss", "does not depend on the logits"),
        ([NET, "model.task_heads.seg.loss._target_=monai.losses.DiceLoss",
          "+model.task_heads.seg.loss.softmax=true"],
         "model.task_heads.seg.loss", "softmax of a single channel"),
        ([NET, "+callbacks.mine._target_=my_lab_parts.Angry"], "callbacks.mine", "no luck"),
        ([NET, "+logger.mine._target_=my_lab_parts.Angry"], "logger.mine", "no luck"),
        ([NET, "+augmentation.mine._target_=my_lab_parts.Angry"], "data", "no luck"),
        ([NET, "model.lr_scheduler._target_=my_lab_parts.Plateau"],
         "model.lr_scheduler", "metrics"),
        ([NET, "preparation.steps=[{_target_: my_lab_parts.Crop}]"],
         r"preparation.steps\[0\]", "returns shape"),
        ([NET, "preparation.steps=[{_target_: os.getcwd}]"], "preparation|data", "callable"),
        ([NET, "callbacks.best.monitor=val/mine"], "callbacks.best.monitor", "is not a score"),
        (["model.backbone._target_=monai.networks.nets.UNet", "+model.backbone.channels=[4,8192]",
          "+model.backbone.strides=[2]"], "model.backbone", "8192 is more than 4096"),
    ],
)  # fmt: skip
def test_part_that_cannot_work_is_refused_with_its_key(
    words: list[str], where: str, found: str
) -> None:
    with pytest.raises(CytoloopError, match=f"^({where}).*({found})"):
        build(*words)


def test_patch_that_the_network_cannot_take_is_refused() -> None:
    words = ["model.backbone._target_=my_lab_parts.Fixed"]
    build(*words, largest=[16, 16])
    with pytest.raises(ConfigError, match="takes only images of the patch size"):
        build(*words, largest=[16, 40])
    with pytest.raises(ConfigError, match=r"cannot take a patch of \[16, 24\]: takes 16 columns"):
        build(*words, patch=(16, 24))
    with pytest.raises(ConfigError, match=r"shape \[2, 1, 16, 16\], expected \[2, 1, 15, 15\]"):
        build(NET, patch=(15, 15))


@pytest.mark.parametrize("excluded", [False, True])
def test_loss_with_neighbours_is_refused_only_if_voxels_are_excluded(excluded: bool) -> None:
    words = [NET, "model.task_heads.seg.loss._target_=my_lab_parts.Rough"]
    if not excluded:
        build(*words, has_excluded=lambda: False)
        return
    with pytest.raises(ConfigError, match=r"^model.task_heads.seg.loss: Rough compares neigh"):
        build(*words, has_excluded=lambda: True)
    build(NET, "model.task_heads.seg.loss._target_=monai.losses.TverskyLoss",
          has_excluded=lambda: True)  # fmt: skip


@pytest.mark.parametrize(
    ("loss", "sigmoid"),
    [("monai.losses.DiceCELoss", True), ("monai.losses.DiceFocalLoss", True),
     ("monai.losses.FocalLoss", None), ("torch.nn.BCEWithLogitsLoss", None),
     ("cytoloop.model.losses.DiceCELoss", None)],
)  # fmt: skip
def test_loss_of_monai_gets_a_sigmoid_where_it_takes_one(loss: str, sigmoid: bool | None) -> None:
    key = "model.task_heads.seg.loss"
    cfg = config(NET, f"{key}._target_={loss}")
    assert cfg.model.task_heads.seg.loss.get("sigmoid") is sigmoid
    if sigmoid:
        stated = config(NET, f"{key}._target_={loss}", f"+{key}.other_act=null")
        assert "sigmoid" not in stated.model.task_heads.seg.loss
    build(NET, f"{key}._target_={loss}")


def test_own_optimizer_schedule_and_preparation_replace_the_defaults() -> None:
    words = [
        "model.optimizer._target_=my_lab_parts.Descent",
        "model.lr_scheduler._target_=my_lab_parts.Halving", "+model.lr_scheduler.every=5",
        "preparation.steps=[{_target_: my_lab_parts.Root},"
        " {_target_: monai.transforms.ScaleIntensity}]",
        "+callbacks.mine._target_=my_lab_parts.Logs", "callbacks.best.monitor=val/mine",
    ]  # fmt: skip
    cfg = config(NET, *words)
    assert set(cfg.model.optimizer) == {"_target_", "_partial_", "lr"}
    assert set(cfg.model.lr_scheduler) == {"_target_", "_partial_", "every"}
    assert cfg.model.image.preparation[0] == {"_target_": "my_lab_parts.Root"}
    build(NET, *words)
