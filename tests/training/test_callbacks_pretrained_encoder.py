"""The encoder's weights are read from a file, by name and for any number of channels."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from conftest import make_images
from lightning import LightningModule
from monai.networks.nets import FlexibleUNet, ResNet

from cytoloop.__main__ import main
from cytoloop.errors import ModelError
from cytoloop.model.networks.encoders import build_encoder
from cytoloop.model.networks.pyramids import FPN
from cytoloop.training.callbacks.pretrained_encoder import PretrainedEncoder, encoder_names


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the state dict of a small ResNet for images of three channels and ten classes."""
    torch.manual_seed(0)
    network = ResNet(
        "basic", [1, 1, 1, 1], [64, 128, 256, 512], 2, 3, 7, (2, 2), num_classes=10,
        shortcut_type="B", bias_downsample=False,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("weights") / "resnet10.pth"
    torch.save(network.state_dict(), path)
    return path


class Unet(LightningModule):
    """The network of `model/network=pretrained_encoder`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.backbone = FlexibleUNet(channels, 2, "resnet10", spatial_dims=2)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_the_encoder_gets_the_weights_of_the_file(weights: Path, channels: int) -> None:
    model = Unet(channels)
    given = torch.load(weights, weights_only=True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    PretrainedEncoder(weights).setup(None, model, "fit")  # type: ignore[arg-type]
    after = model.state_dict()
    encoder = [name for name in after if name.startswith("backbone.encoder.")]
    assert len(encoder) > 50
    for name in encoder:
        if name.endswith("num_batches_tracked") or name == "backbone.encoder.conv1.weight":
            continue
        assert torch.equal(after[name], given[name.removeprefix("backbone.encoder.")])
    for name in set(after) - set(encoder):
        assert torch.equal(after[name], before[name])
    first = after["backbone.encoder.conv1.weight"]
    # equal channels give the same output as three equal channels
    assert torch.allclose(first.sum(1), given["conv1.weight"].sum(1), atol=1e-6)
    assert torch.equal(first, given["conv1.weight"]) or channels != 3


def test_every_weight_that_does_not_fit_is_listed(weights: Path, tmp_path: Path) -> None:
    given = torch.load(weights, weights_only=True)
    del given["layer1.0.conv1.weight"]
    given["layer9.weight"] = torch.zeros(1)
    given["bn1.weight"] = torch.zeros(3)
    torch.save(given, tmp_path / "other.pth")
    with pytest.raises(ModelError) as caught:
        PretrainedEncoder(tmp_path / "other.pth").check(Unet(1))
    text = str(caught.value)
    for fault in (
        "layer1.0.conv1.weight is missing",
        "layer9.weight is not a weight of this encoder",
        "bn1.weight is (3,), expected (64,)",
    ):
        assert fault in text
    model = LightningModule()
    model.backbone = torch.nn.Conv2d(1, 1, 1)
    with pytest.raises(ModelError, match="no part named `encoder`"):
        PretrainedEncoder(weights).check(model)


@pytest.mark.parametrize("prefix", ["", "module.", "model.backbone.encoder."])
def test_names_of_other_programs_are_mapped_and_reported(
    weights: Path, tmp_path: Path, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    given = torch.load(weights, weights_only=True)
    torch.save({"state_dict": {prefix + name: v for name, v in given.items()}}, tmp_path / "w.pth")
    model = LightningModule()
    model.backbone = FPN(2, 1, 2, "resnet10")
    with caplog.at_level("INFO"):
        PretrainedEncoder(tmp_path / "w.pth").setup(None, model, "fit")  # type: ignore[arg-type]
    weight = model.state_dict()["backbone.encoder.layer4.0.conv2.weight"]
    assert torch.equal(weight, given["layer4.0.conv2.weight"])
    assert "conv1.weight: 3 channels became 1" in caplog.text
    assert f"without the classifier ({prefix}fc.weight, {prefix}fc.bias)" in caplog.text
    mapped = f"names mapped ({prefix}conv1.weight -> conv1.weight)"
    assert (mapped in caplog.text) == bool(prefix)


def test_names_of_a_densenet_of_torchvision_are_those_of_the_encoder() -> None:
    names = list(build_encoder("densenet121", 2, 3)[0].state_dict())
    given = [name.replace(".layers.", ".") for name in names]  # torchvision's
    older = [re.sub(r"(layer\d+\.(norm|conv))(\d)", r"\1.\3", name) for name in given]
    for one in (given, older):
        assert list(encoder_names([*one, "classifier.bias"], names).values()) == [*names, None]
        assert one != names


@pytest.mark.slow
def test_feature_pyramid_networks_are_trained_predict_and_are_fine_tuned(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    make_images(tmp_path, 3, (48, 48))
    assert main(["curate", "raw=raw", "seg1=seg", "output=ds"]) == 0
    words = ["train", "model=instance", "data.path=ds", "data.patch_size=[32,32]"]
    words += ["data.batch_size=2", "data.steps_per_epoch=2", "trainer.max_epochs=1"]
    words += ["trainer.accelerator=cpu", "score_test=false", "lock=false", "tune=false"]
    resnet = "model.backbone.encoder=resnet10"
    torch.save({"conv1.weight": torch.zeros(1)}, "bad.pth")
    fpn = [*words, "model/network=fpn", resnet]
    assert main([*fpn, "output=fpn", "encoder_weights=bad.pth"]) == 2
    assert "weight is missing" in capfd.readouterr().err
    assert not Path("mlflow.db").exists() and not Path("fpn/checkpoints").exists()
    assert main([*fpn, "output=fpn", f"encoder_weights={weights}"]) == 0
    assert f"weights of {weights}" in Path("fpn/train.log").read_text()
    fine = ["finetune=frozen_encoder", "init_from=fpn"]
    assert main([*words, "output=fine", *fine]) == 0  # the network is that of the model
    assert "weights loaded unchanged" in Path("fine/train.log").read_text()
    assert main([*fpn[:-1], "model.backbone.encoder=vgg", "output=no"]) == 2
    assert "expected one of resnet10, resnet18" in capfd.readouterr().err
    for network in ("unetplusplus", "deeplabv3plus"):
        assert main([*words, f"model/network={network}", resnet, f"output={network}"]) == 0
    flexible = ["model/network=pretrained_encoder", "model.backbone.backbone=resnet10"]
    assert main([*words, *flexible, "output=flexible", f"encoder_weights={weights}"]) == 0
    for model in ("fine", "unetplusplus", "deeplabv3plus", "flexible"):
        assert main(["predict", f"checkpoint={model}", "input=raw", f"output=p/{model}"]) == 0
        assert len(list(Path(f"p/{model}/labels").glob("*.tif"))) == 3
