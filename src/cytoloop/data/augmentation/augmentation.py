"""The augmentation of a run: named transforms, each with its own random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import MapTransform, Randomizable, RandomizableTransform
from torch import Tensor

from cytoloop.data.augmentation.base import IntensityTransform, SpatialTransform
from cytoloop.data.augmentation.warp import Warp
from cytoloop.errors import ConfigError

MAX_ANISOTROPY = 1.5
"""Maximum ratio of voxel height to width at which stacks are transformed in 3D, else in 2D."""


class Augmentation:
    """Transforms by name: spatial transforms are applied first, then intensity transforms.

    Each transform has its own random numbers. Switching one off does not change those of the
    others, so that a training without it is an ablation.

    Parameters
    ----------
    **transforms : SpatialTransform, IntensityTransform, MONAI transform, callable, or None
        Applied in this order. None switches a transform off. A MONAI dictionary transform must have
        ``keys=[image]`` and gets ``{"image": Tensor}``; any other callable gets the image, a Tensor
        (C, [Z,] Y, X), and returns one of the same shape.
    """

    def __init__(self, **transforms: Any) -> None:
        for name, transform in transforms.items():
            known = isinstance(transform, (SpatialTransform, IntensityTransform))
            if transform is not None and not known and not callable(transform):
                raise ConfigError(
                    f"augmentation.{name}",
                    f"is of type {type(transform).__name__}",
                    "Expected a transform of cytoloop.data.augmentation or MONAI, or a callable of "
                    "the image; null switches a transform off.",
                )
            if isinstance(transform, MapTransform) and set(transform.keys) != {"image"}:
                raise ConfigError(
                    f"augmentation.{name}.keys",
                    f"is {list(transform.keys)}",
                    "Expected [image]: intensity transforms must not change target and weight.",
                )
        self.transforms = transforms
        self.probs = {name: float(getattr(t, "prob", 1)) for name, t in transforms.items()}
        # MONAI needs a RandomState; seeding one again is faster than making a new one
        self._state = np.random.RandomState()
        for transform in transforms.values():
            if isinstance(transform, RandomizableTransform):
                # `_draw` decides instead: seeding a transform that is then skipped costs more
                transform.prob = 1.0

    def draw_warp(
        self, rng: np.random.Generator, ndim: int, spacing: Sequence[float] | None
    ) -> Warp:
        """Return a warp with all spatial transforms that are drawn.

        Parameters
        ----------
        rng : Generator
        ndim : int
            2 or 3.
        spacing : sequence of float, optional
            Voxel size (Z, Y, X) in any unit. None: stacks are transformed in 2D.
        """
        planar = ndim == 2 or spacing is None or _anisotropy(spacing) > MAX_ANISOTROPY
        voxel = np.asarray(spacing if spacing else (1.0, 1.0, 1.0), float)
        warp = Warp(ndim, planar, voxel[-ndim:])
        for transform, seed in self._draw(rng):
            if isinstance(transform, SpatialTransform):
                transform.add_to(warp, np.random.default_rng(seed))
        return warp

    def apply_intensity(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Return the image after all intensity transforms that are drawn.

        Parameters
        ----------
        image : Tensor
            (C, [Z,] Y, X) float32.
        rng : Generator
        """
        for transform, seed in self._draw(rng):
            if isinstance(transform, IntensityTransform):
                image = transform.apply(image, np.random.default_rng(seed))
            elif not isinstance(transform, SpatialTransform):
                if isinstance(transform, Randomizable):
                    self._state.seed(seed)
                    transform.set_random_state(state=self._state)
                if isinstance(transform, MapTransform):
                    image = transform({"image": image})["image"]
                else:
                    image = torch.as_tensor(transform(image), dtype=torch.float32)
        return image

    def _draw(self, rng: np.random.Generator) -> list[tuple[Any, int]]:
        """Return the transforms to apply, each with a seed. Random numbers are drawn for all."""
        seeds = rng.integers(2**32, size=len(self.transforms))
        chances = rng.random(len(self.transforms))
        return [
            (transform, int(seed))
            for (name, transform), seed, chance in zip(
                self.transforms.items(), seeds, chances, strict=True
            )
            if transform is not None and chance < self.probs[name]
        ]


def _anisotropy(spacing: Sequence[float]) -> float:
    """Return the ratio of voxel height to width."""
    return spacing[0] / min(spacing[-2:])
