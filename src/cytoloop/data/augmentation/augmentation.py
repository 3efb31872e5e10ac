"""The augmentation of a run: named parts, each with its own random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from monai.transforms import MapTransform, RandomizableTransform
from torch import Tensor

from cytoloop.data.augmentation.noise import GreyLevels
from cytoloop.data.augmentation.spatial import Spatial
from cytoloop.data.augmentation.warp import Warp
from cytoloop.errors import ConfigError

ISOTROPIC = 1.5
"""Stacks whose voxels are at most so many times as high as wide are tilted, others not."""


class Augmentation:
    """Parts by name: first those that change places, then those that change grey levels.

    Each part draws from random numbers of its own, so that a part that is left out changes
    nothing but itself: a run without it is an ablation.

    Parameters
    ----------
    **parts : Spatial, GreyLevels, MONAI dictionary transform, or None
        A part that is None is switched off. MONAI's transforms get ``{"image": Tensor}`` with the
        key ``image`` only, (C, [Z,] Y, X); in the order given.
    """

    def __init__(self, **parts: Any) -> None:
        kinds = (Spatial, GreyLevels, MapTransform)
        for name, part in parts.items():
            if part is not None and not isinstance(part, kinds):
                raise ConfigError(
                    f"augmentation.{name}",
                    f"is a {type(part).__name__}",
                    "Expected a part of cytoloop.data.augmentation or a MONAI dictionary "
                    "transform; null switches a part off.",
                )
            if isinstance(part, MapTransform) and set(part.keys) != {"image"}:
                raise ConfigError(
                    f"augmentation.{name}.keys",
                    f"{list(part.keys)}",
                    "Expected [image]: target and weight follow the image by themselves.",
                )
        self.parts = parts
        self.probs = {name: float(getattr(part, "prob", 1)) for name, part in parts.items()}
        self._state = np.random.RandomState()  # MONAI's kind; seeding is faster than a new one
        for part in parts.values():
            if isinstance(part, RandomizableTransform):
                part.prob = 1.0  # chance is drawn here: seeding a part that then rests costs more

    def draw_warp(
        self, rng: np.random.Generator, ndim: int, spacing: Sequence[float] | None
    ) -> Warp:
        """Draw all changes of place.

        Parameters
        ----------
        rng : Generator
        ndim : int
            2 or 3.
        spacing : sequence of float, optional
            (Z, Y, X).
        """
        planar = ndim == 2 or spacing is None or _elongation(spacing) > ISOTROPIC
        voxel = np.asarray(spacing if spacing else (1.0, 1.0, 1.0), float)
        warp = Warp(ndim, planar, voxel[-ndim:])
        for part, seed in self._chosen(rng):
            if isinstance(part, Spatial):
                part.add_to(warp, np.random.default_rng(seed))
        return warp

    def change_levels(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Return the image with all changes of grey levels, (C, [Z,] Y, X) float32."""
        for part, seed in self._chosen(rng):
            if isinstance(part, GreyLevels):
                image = part.change(image, np.random.default_rng(seed))
            elif isinstance(part, MapTransform):
                if isinstance(part, RandomizableTransform):
                    self._state.seed(seed)
                    part.set_random_state(state=self._state)
                image = part({"image": image})["image"]
        return image

    def _chosen(self, rng: np.random.Generator) -> list[tuple[Any, int]]:
        """Return the parts that chance chooses, each with a seed; draw for all of them."""
        seeds = rng.integers(2**32, size=len(self.parts))
        chances = rng.random(len(self.parts))
        return [
            (part, int(seed))
            for (name, part), seed, chance in zip(self.parts.items(), seeds, chances, strict=True)
            if part is not None and chance < self.probs[name]
        ]


def _elongation(spacing: Sequence[float]) -> float:
    return spacing[0] / min(spacing[-2:])
