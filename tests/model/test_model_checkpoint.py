"""Checkpoints of CytoLoop: read as data, and their networks built."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.networks.nets import DynUNet

from cytoloop.errors import ModelError
from cytoloop.model.checkpoint import build_network, read_checkpoint

BACKBONE: dict[str, Any] = {
    "_target_": "monai.networks.nets.DynUNet",
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 1,
    "strides": [1, 2, 2],
    "kernel_size": [3, 3, 3],
    "upsample_kernel_size": [2, 2],
    "filters": [4, 8, 8],
}


def save(path: Path, backbone: dict[str, Any] | None = None, **extra: Any) -> Path:
    network = DynUNet(**{k: v for k, v in BACKBONE.items() if k != "_target_"})
    content = {
        "state_dict": {f"backbone.{k}": v for k, v in network.state_dict().items()},
        "hyper_parameters": {"backbone": backbone or BACKBONE, "image": {"spatial_dims": 2}},
        "epoch": 3,
        "global_step": 40,
    }
    torch.save(content | extra, path)
    return path


def test_network_is_read_with_its_weights(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(save(tmp_path / "a.ckpt"))
    assert checkpoint.epoch == 3 and checkpoint.step == 40 and len(checkpoint.sha256) == 64
    network = build_network(checkpoint)
    assert not network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, checkpoint.weights[f"backbone.{name}"])


class Bomb:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch exploded",)


def test_code_in_a_checkpoint_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="damaged, or contains code"):
        read_checkpoint(save(tmp_path / "a.ckpt", callbacks=Bomb()))
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    "target",
    ["os.system", "monai.networks.nets.os", "monai.utils.optional_import", "subprocess.Popen", ""],
)
def test_class_outside_monais_networks_is_not_built(tmp_path: Path, target: str) -> None:
    checkpoint = read_checkpoint(save(tmp_path / "a.ckpt", {**BACKBONE, "_target_": target}))
    with pytest.raises(ModelError, match="names the class"):
        build_network(checkpoint)


def test_nested_class_is_not_built(tmp_path: Path) -> None:
    nested = {**BACKBONE, "filters": [{"_target_": "os.system", "command": "true"}]}
    with pytest.raises(ModelError, match="contains a nested class"):
        build_network(read_checkpoint(save(tmp_path / "a.ckpt", nested)))


def test_missing_damaged_and_unknown_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such checkpoint"):
        read_checkpoint(tmp_path / "none.ckpt")
    (tmp_path / "bad.ckpt").write_bytes(save(tmp_path / "a.ckpt").read_bytes()[:500])
    with pytest.raises(ModelError, match="is not a readable checkpoint"):
        read_checkpoint(tmp_path / "bad.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(ModelError, match="is not a checkpoint of CytoLoop or CytoDL"):
        read_checkpoint(tmp_path / "other.ckpt")
    with pytest.raises(ModelError, match="do not fit"):
        build_network(
            read_checkpoint(save(tmp_path / "b.ckpt", {**BACKBONE, "filters": [8, 8, 8]}))
        )
