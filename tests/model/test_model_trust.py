"""Trust: which classes are built although a file names them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cytoloop.errors import ConfigError, ModelError
from cytoloop.model.checkpoint import build_network, read_checkpoint
from cytoloop.model.sizes import size_multiples
from cytoloop.model.trust import VARIABLE, trusted_packages, trusting

NETS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, spatial_dims, in_channels, out_channels, act=None, **more):
        super().__init__()
        self.act = act or nn.ReLU()
        self.more = more
        self.conv = nn.Conv2d(in_channels, out_channels, 2, stride=2)
        self.up = nn.Upsample(scale_factor=2)

    def forward(self, x):
        return self.up(self.act(self.conv(x)))

def make(spatial_dims, in_channels, out_channels):
    return Net(spatial_dims, in_channels, out_channels)

def number(**arguments):
    return 1

def broken(**arguments):
    raise KeyError("no such size")
"""
SIZES = {"spatial_dims": 2, "in_channels": 1, "out_channels": 1}


@pytest.fixture
def my_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package of the user on the path; its name."""
    name = f"my_lab_{tmp_path.name}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / name / "nets.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
    return name


def checkpoint_of(path: Path, backbone: dict[str, Any]) -> Any:
    weights = {
        "backbone.conv.weight": torch.zeros(1, 1, 2, 2), "backbone.conv.bias": torch.ones(1)
    }  # fmt: skip
    hparams = {"backbone": backbone, "image": {"spatial_dims": 2}}
    torch.save({"state_dict": weights, "hyper_parameters": hparams}, path)
    return read_checkpoint(path)


@pytest.mark.parametrize("name", ["Net", "make"])
def test_trusted_class_or_function_is_built_with_its_weights(
    tmp_path: Path, my_lab: str, name: str
) -> None:
    backbone = {"_target_": f"{my_lab}.nets.{name}", **SIZES}
    checkpoint = checkpoint_of(tmp_path / "a.ckpt", backbone)
    with pytest.raises(ModelError, match=rf"names the class .*\n.*trust=\[{my_lab}\]"):
        build_network(checkpoint)
    assert f"{my_lab}.nets" not in sys.modules
    with trusting([my_lab]):
        network = build_network(checkpoint)
    assert not network.training
    assert torch.equal(network(torch.rand(1, 1, 4, 4)), torch.ones(1, 1, 4, 4))


def test_trust_ends_with_its_block(my_lab: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with trusting([my_lab]):
        with trusting(["other"]):
            assert trusted_packages() == [my_lab, "other"]
        assert trusted_packages() == [my_lab]
    assert VARIABLE not in os.environ
    monkeypatch.setenv(VARIABLE, " a, b ,")
    assert trusted_packages() == ["a", "b"]


@pytest.mark.parametrize("name", ["os", "subprocess", "my_lab.nets", "my-lab", "builtins"])
def test_trust_in_anything_but_a_package_of_the_user_is_refused(name: str) -> None:
    with (
        pytest.raises(ConfigError, match="is not the name of a package of yours"),
        trusting([name]),
    ):
        pass


@pytest.mark.parametrize(
    "target", ["os.system", "torch.nn.Module.__init__", "torch.nn.functional.relu", "torch.load",
               "monai.losses.PerceptualLoss", "torch.nn.os.system", "__main__.Net", "Net"]
)  # fmt: skip
def test_trust_in_one_package_is_no_trust_in_others(
    tmp_path: Path, my_lab: str, target: str
) -> None:
    checkpoint = checkpoint_of(tmp_path / "a.ckpt", {"_target_": target, **SIZES})
    with trusting([my_lab]), pytest.raises(ModelError, match="names the class"):
        build_network(checkpoint)


def test_argument_of_a_trusted_class_may_be_a_trusted_or_known_object_only(
    tmp_path: Path, my_lab: str
) -> None:
    backbone = {"_target_": f"{my_lab}.nets.Net", **SIZES, "act": {"_target_": "torch.nn.Tanh"}}
    with trusting([my_lab]):
        network: Any = build_network(checkpoint_of(tmp_path / "a.ckpt", backbone))
        assert isinstance(network.act, nn.Tanh)
        for act in ({"_target_": "os.system", "command": "touch x"}, {"_target_": "eval"}):
            backbone = {**backbone, "more": [{"x": act}]}
            with pytest.raises(ModelError, match="names the class"):
                build_network(checkpoint_of(tmp_path / "b.ckpt", backbone))


def test_trusted_class_that_fails_is_one_sentence(tmp_path: Path, my_lab: str) -> None:
    def build(name: str, **more: Any) -> None:
        backbone = {"_target_": f"{my_lab}.{name}", **SIZES, **more}
        build_network(checkpoint_of(tmp_path / "a.ckpt", backbone))

    with trusting([my_lab, "no_such_package"]):
        with pytest.raises(ModelError, match="cannot be imported"):
            build("nets.Missing")
        with pytest.raises(ModelError, match="refuses its arguments: 'no such size'"):
            build("nets.broken")
        with pytest.raises(ModelError, match=r"gives a int, expected a torch.nn.Module"):
            build("nets.number")
        other = checkpoint_of(tmp_path / "b.ckpt", {"_target_": "no_such_package.Net", **SIZES})
        with pytest.raises(ModelError, match="Install the package no_such_package, or add"):
            build_network(other)
        with pytest.raises(ModelError, match="do not fit: .*size mismatch"):
            build("nets.Net", out_channels=2)


def test_sizes_of_a_trusted_network_are_found_on_the_meta_device(my_lab: str) -> None:
    backbone = {"_target_": f"{my_lab}.nets.Net", **SIZES}
    assert size_multiples(backbone, 2) is None
    with trusting([my_lab]):
        assert size_multiples(backbone, 2) == [2, 2]


def test_classes_of_known_libraries_need_no_trust(tmp_path: Path) -> None:
    backbone = {"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 1,
                "kernel_size": 2}  # fmt: skip
    weights = {"backbone.weight": torch.zeros(1, 1, 2, 2), "backbone.bias": torch.ones(1)}
    hparams = {"backbone": backbone, "image": {}}
    torch.save({"state_dict": weights, "hyper_parameters": hparams}, tmp_path / "a.ckpt")
    assert isinstance(build_network(read_checkpoint(tmp_path / "a.ckpt")), nn.Conv2d)
