"""A training that starts from another model takes its network and its patch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_module
from monai.networks import nets

from cytoloop.errors import ModelError
from cytoloop.model.checkpoint import build_network, read_checkpoint
from cytoloop.model.networks.classes_unet import ClassesUNet
from cytoloop.model.transfer import transfer
from cytoloop.training.prepare.parent import take_holes_of_parent, take_network_of_parent

CLASSES = ["background", "nucleus", "spindle"]
NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("UNet", {"channels": [4, 8, 16], "strides": [2, 2], "num_res_units": 2}),
    ("AttentionUnet", {"channels": [4, 8], "strides": [2]}),
    ("BasicUNet", {"features": [4, 4, 8, 8, 8, 4]}),
    ("SegResNet", {"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]}),
]


def config(*words: str) -> Any:
    with initialize_config_module("cytoloop.configs", version_base="1.3"):
        return compose("train", ["data.path=x", "output=x", *words])


def save_pair(folder: Path, name: str, arguments: dict[str, Any], **more: Any) -> Path:
    folder.mkdir()
    torch.manual_seed(0)
    torch.save(getattr(nets, name)(**arguments).state_dict(), folder / "best_model.pth")
    about = {"architecture": name, "arguments": arguments, "patch_size": 32, **more}
    (folder / "config.json").write_text(json.dumps({**about, "normalization": "minmax"}))
    return folder / "best_model.pth"


@pytest.mark.parametrize(("name", "arguments"), NETWORKS)
def test_a_network_of_another_class_is_taken_with_its_patch(
    tmp_path: Path, name: str, arguments: dict[str, Any]
) -> None:
    arguments = {"spatial_dims": 2, "in_channels": 1, "out_channels": 1} | arguments
    path = save_pair(tmp_path / "pair", name, arguments)
    cfg = take_network_of_parent(config("experiment=nuclei_2d"), path)
    assert cfg.model.backbone._target_ == f"monai.networks.nets.{name}"
    assert "filters" not in cfg.model.backbone and cfg.data.patch_size == [32, 32]
    cfg.spatial_dims, cfg.in_channels = 2, 1
    assert cfg.model.backbone.out_channels == 3  # the recipe's, not the model's
    network = getattr(nets, name)(**{k: v for k, v in cfg.model.backbone.items() if k[0] != "_"})
    before, after = read_checkpoint(path), network.eval()
    image = {"heads": list(cfg.model.image.heads), "channels": 1}
    weights = {k.removeprefix("backbone."): v for k, v in before.weights.items()}
    found = transfer("m", weights, after.state_dict(), before.image, image)
    assert found.fitted and not found.new
    after.load_state_dict(found.state)
    pixels = torch.randn(1, 1, 32, 32)
    with torch.inference_mode():
        expected, first = build_network(before)(pixels), after(pixels)[:, :1]
    if name != "UNet":  # its last layer mixes the outputs, so that new ones change the first
        torch.testing.assert_close(first, expected)


def test_classes_of_a_softmax_keep_their_weights(tmp_path: Path) -> None:
    arguments = {"spatial_dims": 2, "in_channels": 1, "out_channels": 3} | NETWORKS[0][1]
    path = save_pair(tmp_path / "pair", "UNet", arguments, classes=CLASSES)
    cfg = take_network_of_parent(config("model=semantic", "classes=[a,b]"), path)
    assert cfg.model.backbone._target_.endswith("ClassesUNet")
    before = read_checkpoint(path)
    arguments = {k: v for k, v in before.backbone.items() if k[0] != "_"}
    network = ClassesUNet(**{**arguments, "out_channels": 3})
    weights = {k.removeprefix("backbone."): v for k, v in before.weights.items()}
    image = {"heads": ["class_spindle", "class_nucleus", "class_debris"], "channels": 1}
    found = transfer("m", weights, network.state_dict(), before.image, image)
    assert len(found.fitted) == 4 and not found.new
    last = found.state["model.2.0.conv.weight"]  # background, spindle, nucleus, debris
    assert torch.equal(last[:, [0, 2, 1]], weights["model.2.0.conv.weight"])


def test_features_and_layers_are_those_of_the_model(
    make_model: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    path = make_model(2)  # 4 features, 3 layers
    cfg = take_network_of_parent(config("experiment=nuclei_2d", "layers=5"), path)
    assert (cfg.features, cfg.layers) == (4, 3)
    assert "features=32 is not used: the model to start from has 4" in caplog.text
    assert "layers=5 is not used" in caplog.text
    same = config("strict=false")
    assert take_network_of_parent(same, path) == same


@pytest.mark.parametrize(
    "words",
    [["strict=false"], ["model/network=residual_encoder"], ["model.backbone.filters=[8,16]"]],
)
def test_a_network_that_the_config_states_stays(tmp_path: Path, words: list[str]) -> None:
    arguments = {"spatial_dims": 2, "in_channels": 1, "out_channels": 1} | NETWORKS[2][1]
    path = save_pair(tmp_path / "pair", *("BasicUNet", arguments))
    cfg = config(*words)
    assert take_network_of_parent(cfg, path) == cfg


def test_holes_are_kept_if_the_model_keeps_them(tmp_path: Path) -> None:
    arguments = dict(NETWORKS[0][1], spatial_dims=2, in_channels=1, out_channels=1)
    thin = save_pair(tmp_path / "thin", "UNet", arguments, fill_holes=False)
    filled = save_pair(tmp_path / "filled", "UNet", arguments)
    assert take_holes_of_parent(config(), thin).model.image.fill_holes is False
    assert take_holes_of_parent(config(), filled).model.image.fill_holes == "auto"
    typed = take_holes_of_parent(config("postprocess.fill_holes=true"), thin)
    assert typed.model.image.fill_holes is True


def test_a_class_that_a_file_names_is_not_trusted(
    tmp_path: Path, make_model: Callable[..., Path]
) -> None:
    content = torch.load(make_model(2), weights_only=True)
    content["hyper_parameters"]["backbone"] = {"_target_": "my_lab.nets.MyNet"}
    torch.save(content, tmp_path / "bad.ckpt")
    with pytest.raises(ModelError, match="names the class 'my_lab.nets.MyNet'"):
        take_network_of_parent(config(), tmp_path / "bad.ckpt")
