"""Checks of a CytoDL experiment before its training, and MONAI's channel axis."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms import Zoomd
from omegaconf import DictConfig, OmegaConf

from cytoloop.errors import ConfigError, ManifestError
from cytoloop.training.cytodl_checks import (
    check_accelerator,
    check_packages,
    runs_test_stage,
    select_loggers,
)
from cytoloop.training.cytodl_data import read_cytodl_data
from cytoloop.training.cytodl_transforms import EnsureChannelFirstd, replace_transforms

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


def test_an_image_without_channels_is_zoomed_along_all_axes() -> None:
    add_channel = EnsureChannelFirstd(keys="raw", channel_dim="no_channel")
    zoom = Zoomd(keys="raw", zoom=0.5, keep_size=False)
    image = {"raw": MetaTensor(np.zeros((8, 8, 8), np.float32))}
    assert zoom(add_channel(image))["raw"].shape == (1, 4, 4, 4)

    node = {"transforms": [{"_target_": "monai.transforms.EnsureChannelFirstd", "keys": "raw"}]}
    replace_transforms(node)
    assert node["transforms"][0]["_target_"].startswith("cytoloop.")
