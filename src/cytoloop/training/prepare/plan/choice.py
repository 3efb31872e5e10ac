"""A value of a plan with its reason, and the keys that a plan fills in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

PATCH = "data.patch_size"
BATCH = "data.batch_size"
FOREGROUND = "data.foreground_fraction"
LOWER, UPPER = "normalization.lower", "normalization.upper"
STRIDES = "model.backbone.strides"
KERNELS = "model.backbone.kernel_size"
RESOLUTION = "model.backbone.resolution"
NORM = "model.backbone.norm_name"
OBJECT_VOXELS = "model.image.object_voxels"
FEATURES, LAYERS = "features", "layers"


@dataclass(frozen=True)
class Choice:
    """A value and why it was chosen.

    Attributes
    ----------
    key : str
        Dotted key of the config.
    value : object
        Numbers and lists of them.
    reason : str
    """

    key: str
    value: Any
    reason: str


def product_text(numbers: Iterable[object]) -> str:
    """Return sizes as people write them.

    >>> product_text([16, 64, 64])
    '16 x 64 x 64'
    """
    return " x ".join(str(number) for number in numbers)
