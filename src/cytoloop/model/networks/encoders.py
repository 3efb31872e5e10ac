"""Encoders of the pyramid networks: MONAI's ResNets, DenseNets and EfficientNets.

Each gives five features, at 1/2 to 1/32 of the image. ResNets and DenseNets have the layers of
torchvision's networks, so that weights which were trained there fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from monai.networks.nets import ResNet
from monai.networks.nets.densenet import DenseNet
from monai.networks.nets.flexible_unet import FLEXUNET_BACKBONE
from monai.networks.nets.resnet import get_inplanes
from torch import Tensor, nn

RESNETS: Mapping[str, tuple[str, list[int]]] = {
    "resnet10": ("basic", [1, 1, 1, 1]),
    "resnet18": ("basic", [2, 2, 2, 2]),
    "resnet34": ("basic", [3, 4, 6, 3]),
    "resnet50": ("bottleneck", [3, 4, 6, 3]),
    "resnet101": ("bottleneck", [3, 4, 23, 3]),
    "resnet152": ("bottleneck", [3, 8, 36, 3]),
}
"""Kind of block, and number of blocks at each depth."""
DENSENETS: Mapping[str, tuple[int, int, list[int]]] = {
    "densenet121": (64, 32, [6, 12, 24, 16]),
    "densenet161": (96, 48, [6, 12, 36, 24]),
    "densenet169": (64, 32, [6, 12, 32, 32]),
    "densenet201": (64, 32, [6, 12, 48, 32]),
}
"""Features of the first layer, growth, and number of layers in each block."""
EFFICIENTNETS = tuple(f"efficientnet-b{number}" for number in range(9))
ENCODERS = (*RESNETS, *DENSENETS, *EFFICIENTNETS)
"""Names of all encoders."""


def build_encoder(name: str, spatial_dims: int, in_channels: int) -> tuple[nn.Module, list[int]]:
    """Return an encoder with random weights, and the channels of its five features.

    Parameters
    ----------
    name : str
        One of `ENCODERS`.
    spatial_dims : int
        2 or 3.
    in_channels : int

    Raises
    ------
    ValueError
        The name is unknown.
    """
    if name in RESNETS:
        return ResNetEncoder(name, spatial_dims, in_channels), ResNetEncoder.channels(name)
    if name in DENSENETS:
        densenet = DenseNetEncoder(name, spatial_dims, in_channels)
        return densenet, densenet.channels
    if name not in EFFICIENTNETS:
        raise ValueError(f"encoder is {name!r:.60}, expected one of {', '.join(ENCODERS)}")
    known = FLEXUNET_BACKBONE.register_dict[name]
    given = {"spatial_dims": spatial_dims, "in_channels": in_channels, "pretrained": False}
    return known["type"](**known["parameter"] | given), list(known["feature_channel"])


class ResNetEncoder(ResNet):
    """A ResNet with the shortcuts of torchvision's; MONAI's `ResNetFeatures` has MedicalNet's.

    Parameters
    ----------
    name : str
        One of `RESNETS`.
    spatial_dims, in_channels : int
    """

    def __init__(self, name: str, spatial_dims: int, in_channels: int) -> None:
        block, layers = RESNETS[name]
        super().__init__(
            block=block,
            layers=layers,
            block_inplanes=get_inplanes(),
            spatial_dims=spatial_dims,
            n_input_channels=in_channels,
            conv1_t_stride=2,
            shortcut_type="B",
            feed_forward=False,
            bias_downsample=False,
        )

    @staticmethod
    def channels(name: str) -> list[int]:
        """Return the channels of the five features."""
        wide = 4 if RESNETS[name][0] == "bottleneck" else 1
        return [64, *(wide * planes for planes in get_inplanes())]

    def forward(self, x: Tensor) -> Sequence[Tensor]:  # type: ignore[override]
        """Return five features, finest first: (B, C, [Z,] Y, X) at 1/2 to 1/32."""
        features = [self.act(self.bn1(self.conv1(x)))]
        x = self.maxpool(features[0])
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            features.append(x)
        return features


class DenseNetEncoder(nn.Module):
    """A DenseNet without its classifier.

    Parameters
    ----------
    name : str
        One of `DENSENETS`.
    spatial_dims, in_channels : int
    """

    def __init__(self, name: str, spatial_dims: int, in_channels: int) -> None:
        super().__init__()
        first, growth, blocks = DENSENETS[name]
        self.features = DenseNet(spatial_dims, in_channels, 1, first, growth, blocks).features
        self.channels, channels = [first], first
        for number, layers in enumerate(blocks):
            channels += layers * growth
            self.channels.append(channels)
            channels //= 2 if number < len(blocks) - 1 else 1

    def forward(self, x: Tensor) -> Sequence[Tensor]:
        """Return five features, finest first: (B, C, [Z,] Y, X) at 1/2 to 1/32."""
        features = []
        for name, layer in self.features.named_children():
            x = layer(x)
            if name == "relu0" or (name.startswith("denseblock") and not name.endswith("4")):
                features.append(x)
        return [*features, x]
