"""Checks of a CytoDL experiment before its training, and MONAI's channel axis."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from monai.data.meta_tensor import MetaTensor
from monai.transforms import Zoomd
from omegaconf import DictConfig, OmegaConf

from cytoloop.errors import ConfigError, ManifestError, ModelError
from cytoloop.training import cytodl
from cytoloop.training.cytodl import ArrayData, _our_callbacks, fit_cytodl
from cytoloop.training.cytodl_checks import (
    check_accelerator,
    check_packages,
    runs_test_stage,
    select_loggers,
)
from cytoloop.training.cytodl_data import read_cytodl_data
from cytoloop.training.cytodl_transforms import EnsureChannelFirstd, replace_transforms
from cytoloop.training.fit import Parts

CSV = {"_target_": "lightning.pytorch.loggers.csv_logs.CSVLogger"}
WANDB = {"_target_": "lightning.pytorch.loggers.wandb.WandbLogger", "offline": False}
MLFLOW = {"_target_": "cyto_dl.loggers.MLFlowLogger"}


def config(**values: object) -> DictConfig:
    return OmegaConf.create(values)


def test_a_gpu_trainer_needs_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    check_accelerator(config(trainer={"accelerator": "cpu"}))
    check_accelerator(config(trainer={"accelerator": "auto"}))
    with pytest.raises(ConfigError, match=r"no GPU on this machine\nAdd trainer.accelerator=cpu"):
        check_accelerator(config(trainer={"accelerator": "gpu"}))
    assert not runs_test_stage(config(test=True, trainer={"accelerator": "gpu"}))


def test_loggers_that_do_not_work_are_left_out_or_refused() -> None:
    assert list(select_loggers(config(logger={"csv": CSV, "mlflow": MLFLOW}))) == ["csv"]
    assert list(select_loggers(config(logger={"csv": CSV, "wandb": WANDB}))) == ["csv"]
    assert select_loggers(config(logger=None)) == {}
    with pytest.raises(ConfigError, match=r"logger=wandb: WandbLogger .*\nChoose logger=csv"):
        select_loggers(config(logger={"wandb": WANDB}))


def test_missing_packages_are_named() -> None:
    check_packages({"model": {"_target_": "torch.nn.Identity"}})
    with pytest.raises(ConfigError, match="no_such_lab.Net needs the package no_such_lab"):
        check_packages({"model": {"backbone": {"_target_": "no_such_lab.Net"}}})


def test_tables_are_checked_and_described(tmp_path: Path) -> None:
    image = tmp_path / "a.tif"
    image.write_bytes(b"1")
    (tmp_path / "train.csv").write_text(f"raw,seg,kind\n{image},{image},seg1\n{image},,seg1\n")
    (tmp_path / "valid.csv").write_text(f"raw,seg,kind\n{image},{image},seg1\n")
    data = {"path": str(tmp_path), "columns": ["raw", "seg", "kind"]}
    found = read_cytodl_data(data)
    assert found.counts == {"train": 2, "val": 1}
    assert read_cytodl_data(data).digest == found.digest
    image.write_bytes(b"2")
    assert read_cytodl_data(data).digest != found.digest

    with pytest.raises(ManifestError, match="train.csv: has no column mask"):
        read_cytodl_data({**data, "columns": ["raw", "mask"]})
    image.unlink()
    with pytest.raises(ManifestError, match=r"train.csv line 2: raw .*a.tif is missing"):
        read_cytodl_data(data)
    with pytest.raises(ManifestError, match="no table, expected a CSV"):
        read_cytodl_data({"path": str(tmp_path / "none")})


class Diverging(LightningModule):
    """One weight, whose step or whose validation gives what the test asks for."""

    def __init__(self, broken: str) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.register_buffer("mask", torch.tensor([-math.inf]))  # is no fault
        self.broken = broken

    def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
        loss = self.layer(batch).mean()
        is_lost = self.broken == "weights" and self.current_epoch == 1
        return loss * math.nan if is_lost else loss

    def validation_step(self, batch: torch.Tensor, index: int) -> None:
        value = math.nan if self.broken == "validation" else self.layer(batch).mean()
        self.log("val/loss", value)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.parametrize("broken, message", [
    ("", ""), ("weights", "2 of 2 weights are NaN or infinite, first layer.weight"),
    ("validation", "val/loss: was inf in the best of 3 epochs: the training diverged"),
])  # fmt: skip
def test_a_diverged_training_of_cytodl_says_so_and_keeps_good_weights(
    broken: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = OmegaConf.create({
        "data": {}, "callbacks": {"model_checkpoint": {"monitor": "val/loss", "mode": "min"}},
        "trainer": {}, "checkpoint": None,
    })  # fmt: skip
    loaders = {split: torch.utils.data.DataLoader(torch.ones(2, 1)) for split in ("train", "val")}
    trainer = Trainer(
        max_epochs=3, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=_our_callbacks(OmegaConf.to_container(cfg), tmp_path),
    )  # fmt: skip
    parts = Parts(ArrayData(loaders), Diverging(broken), trainer)
    monkeypatch.setattr(cytodl, "build_cytodl", lambda *_: parts)
    if not broken:
        assert math.isfinite(fit_cytodl(cfg, tmp_path, None)["val/loss"])  # type: ignore[arg-type]
        return
    with pytest.raises(ModelError, match=f"(?s){message}.*Lower the learning rate"):
        fit_cytodl(cfg, tmp_path, None)  # type: ignore[arg-type]
    if broken == "weights":
        kept = torch.load(tmp_path / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
        assert torch.isfinite(kept["layer.weight"]).all()


def test_an_image_without_channels_is_zoomed_along_all_axes() -> None:
    add_channel = EnsureChannelFirstd(keys="raw", channel_dim="no_channel")
    zoom = Zoomd(keys="raw", zoom=0.5, keep_size=False)
    image = {"raw": MetaTensor(np.zeros((8, 8, 8), np.float32))}
    assert zoom(add_channel(image))["raw"].shape == (1, 4, 4, 4)

    node = {"transforms": [{"_target_": "monai.transforms.EnsureChannelFirstd", "keys": "raw"}]}
    replace_transforms(node)
    assert node["transforms"][0]["_target_"].startswith("cytoloop.")
