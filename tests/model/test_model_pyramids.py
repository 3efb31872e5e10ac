"""Feature pyramid networks: every encoder fits every decoder, in 2D and 3D and at any size."""

from __future__ import annotations

import pytest
import torch

from cytoloop.errors import ModelError
from cytoloop.model.architecture import MetaDeviceMode, build_architecture
from cytoloop.model.networks import pyramids
from cytoloop.model.networks.encoders import ENCODERS, build_encoder
from cytoloop.model.sizes import size_multiples

KINDS = ("FPN", "UNetPlusPlus", "DeepLabV3Plus")
NAMES = "cytoloop.model.networks.pyramids."


@pytest.mark.parametrize("name", ENCODERS)
def test_features_of_an_encoder_are_at_a_half_to_a_thirty_second(name: str) -> None:
    with MetaDeviceMode():
        encoder, channels = build_encoder(name, 2, 1)
    image = torch.empty(1, 1, 64, 96, device="meta")
    features = encoder.to("meta").eval()(image)
    assert [one.shape[1] for one in features] == channels
    expected = [(64 // n, 96 // n) for n in (2, 4, 8, 16, 32)]
    assert [tuple(one.shape[2:]) for one in features] == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encoder, shape", [
    ("resnet10", (20, 33, 32)), ("resnet50", (50, 65)), ("densenet121", (64, 33)),
    ("efficientnet-b0", (40, 70)),
])  # fmt: skip
def test_logits_have_the_size_of_the_image(kind: str, encoder: str, shape: tuple[int, ...]) -> None:
    with MetaDeviceMode():
        network = getattr(pyramids, kind)(len(shape), 2, 3, encoder).to("meta").eval()
    assert network(torch.empty(1, 2, *shape, device="meta")).shape == (1, 3, *shape)


def test_networks_are_built_from_a_checkpoint_without_trust() -> None:
    for kind in KINDS:
        backbone = {"_target_": NAMES + kind, "spatial_dims": 2, "in_channels": 1,
                    "out_channels": 1, "encoder": "resnet10"}  # fmt: skip
        network = build_architecture("a file", backbone)
        assert isinstance(network, getattr(pyramids, kind))
        fresh = network.train()(torch.rand(2, 1, 32, 32))
        fresh.sum().backward()
        unused = [name for name, one in network.named_parameters() if one.grad is None]
        assert not unused  # every layer takes part
    assert size_multiples(backbone, 2) == [1, 1]
    with pytest.raises(ModelError, match="not an argument of DeepLabV3Plus"):
        build_architecture("a file", {**backbone, "weights": "x"})
    with pytest.raises(ValueError, match="'vgg', expected one of resnet10"):
        build_encoder("vgg", 2, 1)
