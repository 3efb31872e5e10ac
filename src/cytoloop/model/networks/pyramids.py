"""Feature pyramid networks on a wide choice of encoders: FPN, U-Net++ and DeepLabV3+.

They are made of MONAI's encoders and blocks. All take images of any size, in 2D or 3D.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from monai.networks.blocks.aspp import SimpleASPP
from monai.networks.blocks.convolutions import Convolution
from monai.networks.blocks.feature_pyramid_network import FeaturePyramidNetwork
from torch import Tensor, nn
from torch.nn.functional import interpolate

from cytoloop.model.networks.encoders import build_encoder

_LINEAR = {2: "bilinear", 3: "trilinear"}
_MIN_NODE, _MAX_NODE = 32, 256
"""Features of a node of U-Net++."""


class PyramidNetwork(nn.Module):
    """An encoder, a decoder of its features, and one logit for each output.

    Parameters
    ----------
    spatial_dims : int
        2 or 3.
    in_channels, out_channels : int
    encoder : str
        One of `cytoloop.model.networks.encoders.ENCODERS`.
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, out_channels: int, encoder: str = "resnet18"
    ) -> None:
        super().__init__()
        self.mode = _LINEAR[spatial_dims]
        self.encoder, self.channels = build_encoder(encoder, spatial_dims, in_channels)
        features = self.build_decoder(spatial_dims)
        self.head = nn.Sequential(
            _convolution(spatial_dims, features, features),
            Convolution(spatial_dims, features, out_channels, kernel_size=1, conv_only=True),
        )

    def build_decoder(self, spatial_dims: int) -> int:
        """Build the layers of the decoder; return the channels of its output."""
        raise NotImplementedError

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Return the decoder's output (B, C, ...) at 1/2 of the image, from five features."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, K, [Z,] Y, X) of an image (B, C, [Z,] Y, X)."""
        decoded = self.decode(self.encoder(x))
        return self.head(interpolate(decoded, size=x.shape[2:], mode=self.mode))

    def resize(self, x: Tensor, like: Tensor) -> Tensor:
        """Return features at the size of others."""
        return interpolate(x, size=like.shape[2:], mode=self.mode)


class FPN(PyramidNetwork):
    """Feature pyramid network (Lin et al. 2017): levels are added top down, then summed up.

    See `PyramidNetwork` for the parameters.
    """

    FEATURES = 128

    def build_decoder(self, spatial_dims: int) -> int:
        """Build the pyramid, and a convolution for each of its levels."""
        self.pyramid = FeaturePyramidNetwork(spatial_dims, self.channels, self.FEATURES)
        self.levels = nn.ModuleList(
            _convolution(spatial_dims, self.FEATURES, self.FEATURES) for _ in self.channels
        )
        return self.FEATURES

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Return the sum of all levels of the pyramid."""
        named = OrderedDict((str(number), one) for number, one in enumerate(features))
        levels = list(self.pyramid(named).values())
        finest = self.levels[0](levels[0])
        for level, convolution in zip(levels[1:], list(self.levels)[1:], strict=True):
            finest = finest + self.resize(convolution(level), finest)
        return finest


class UNetPlusPlus(PyramidNetwork):
    """U-Net++ (Zhou et al. 2018): a grid of nodes between encoder and decoder.

    Node j at depth i gets all earlier nodes of its depth, and node j - 1 of the next depth. See
    `PyramidNetwork` for the parameters.
    """

    def build_decoder(self, spatial_dims: int) -> int:
        """Build the nodes of the grid."""
        depths = len(self.channels)
        width = [min(max(c // 2, _MIN_NODE), _MAX_NODE) for c in self.channels]
        self.nodes = nn.ModuleDict()
        for j in range(1, depths):
            for i in range(depths - j):
                below = self.channels[i + 1] if j == 1 else width[i + 1]
                inputs = self.channels[i] + (j - 1) * width[i] + below
                self.nodes[f"{i}_{j}"] = nn.Sequential(
                    _convolution(spatial_dims, inputs, width[i]),
                    _convolution(spatial_dims, width[i], width[i]),
                )
        return width[0]

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Return the last node of the finest depth."""
        grid = [[one] for one in features]
        for j in range(1, len(features)):
            for i in range(len(features) - j):
                below = self.resize(grid[i + 1][j - 1], features[i])
                grid[i].append(self.nodes[f"{i}_{j}"](torch.cat([*grid[i], below], 1)))
        return grid[0][-1]


class DeepLabV3Plus(PyramidNetwork):
    """DeepLabV3+ (Chen et al. 2018): pooling at several rates, joined with fine features.

    The pooling acts at 1/16 of the image, the fine features are those at 1/2. See
    `PyramidNetwork` for the parameters.
    """

    FEATURES = 128
    FINE = 48
    RATES = (1, 6, 12, 18)

    def build_decoder(self, spatial_dims: int) -> int:
        """Build the pooling and both convolutions of the decoder."""
        kernels = [1, *[3] * (len(self.RATES) - 1)]
        branch = self.FEATURES // len(self.RATES)
        deep = self.channels[-2] + self.channels[-1]
        self.pooling = SimpleASPP(spatial_dims, deep, branch, kernels, self.RATES)
        self.fine = _convolution(spatial_dims, self.channels[0], self.FINE, kernel_size=1)
        self.join = _convolution(spatial_dims, self.FEATURES + self.FINE, self.FEATURES)
        return self.FEATURES

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Return the pooled features at the size of the fine ones, joined with them."""
        deep = torch.cat([features[-2], self.resize(features[-1], features[-2])], 1)
        fine = self.fine(features[0])
        return self.join(torch.cat([self.resize(self.pooling(deep), fine), fine], 1))


def _convolution(dims: int, inputs: int, outputs: int, kernel_size: int = 3) -> Convolution:
    """Return a convolution with batch norm and ReLU."""
    return Convolution(
        dims, inputs, outputs, kernel_size=kernel_size, norm="batch", act="relu", bias=False
    )
