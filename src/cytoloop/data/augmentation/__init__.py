"""Augmentation: one spatial warp of image, labels and weight, then intensity transforms."""

from cytoloop.data.augmentation.augmentation import Augmentation
from cytoloop.data.augmentation.filters import Blur, Clahe, LowResolution, Median, Saturation
from cytoloop.data.augmentation.noise import Dropout, Impulse, Noise, Poisson, SaltPepper
from cytoloop.data.augmentation.spatial import Elastic, Flip, QuarterTurn, Rotate, Scale
from cytoloop.data.augmentation.warp import Warp

__all__ = [
    "Augmentation",
    "Blur",
    "Clahe",
    "Dropout",
    "Elastic",
    "Flip",
    "Impulse",
    "LowResolution",
    "Median",
    "Noise",
    "Poisson",
    "QuarterTurn",
    "Rotate",
    "SaltPepper",
    "Saturation",
    "Scale",
    "Warp",
]
