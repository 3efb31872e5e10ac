"""The encoder's weights are read from a file, by name and for any number of channels."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import make_images
from lightning import LightningModule
from monai.networks.nets import FlexibleUNet, ResNet

from cytoloop.__main__ import main
from cytoloop.errors import ModelError
from cytoloop.training.callbacks.pretrained_encoder import PretrainedEncoder


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


@pytest.mark.slow
def test_a_model_is_trained_from_an_encoder_and_predicts(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    make_images(tmp_path, 3, (48, 48))
    assert main(["curate", "raw=raw", "seg1=seg", "output=ds"]) == 0
    words = ["train", "model=instance", "model/network=pretrained_encoder"]
    words += ["model.backbone.backbone=resnet10"]
    words += [
        "data.path=ds",
        "data.patch_size=[32,32]",
        "data.batch_size=2",
        "data.steps_per_epoch=2",
    ]
    words += ["trainer.max_epochs=1", "trainer.accelerator=cpu", "score_test=false"]
    torch.save({"conv1.weight": torch.zeros(1)}, "bad.pth")
    assert main([*words, "output=m", "encoder_weights=bad.pth"]) == 2
    assert "weight is missing" in capfd.readouterr().err
    assert not Path("mlflow.db").exists() and not Path("m/checkpoints").exists()
    assert main([*words, "output=m", f"encoder_weights={weights}"]) == 0
    assert f"weights of {weights}" in Path("m/train.log").read_text()
    assert main(["predict", "checkpoint=m", "input=raw", "output=p"]) == 0
    assert len(list(Path("p/labels").glob("*.tif"))) == 3
