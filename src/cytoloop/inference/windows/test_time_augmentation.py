"""Test-time augmentation: mirrored and rotated views of a window, whose maps are averaged."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class View:
    """A transform of windows (B, C, [Z,] Y, X): mirrored along axes, then rotated in the plane.

    Attributes
    ----------
    mirrored : tuple of int
        Axes, counted from the end.
    turns : int
        Quarter turns from Y towards X.
    """

    mirrored: tuple[int, ...] = ()
    turns: int = 0

    def apply(self, image: Tensor) -> Tensor:
        """Return the transformed image."""
        view = torch.flip(image, self.mirrored) if self.mirrored else image
        return torch.rot90(view, self.turns, (-2, -1)) if self.turns else view

    def invert(self, maps: Tensor) -> Tensor:
        """Return maps of the transformed image as maps of the image."""
        view = torch.rot90(maps, -self.turns, (-2, -1)) if self.turns else maps
        return torch.flip(view, self.mirrored) if self.mirrored else view


def views(tta: str, size: Sequence[int]) -> list[View]:
    """Return the views of a test-time augmentation.

    Parameters
    ----------
    tta : str
        ``none``; ``flips``: every combination of mirrored axes (4 in 2D, 8 in 3D); ``full``: also
        with a quarter turn (8 in 2D, 16 in 3D), where windows are square in the plane.
    size : sequence of int
        Of a window.
    """
    if tta == "none":
        return [View()]
    axes = range(-len(size), 0)
    mirrors = [m for n in range(len(size) + 1) for m in itertools.combinations(axes, n)]
    turns = (0, 1) if tta == "full" and size[-1] == size[-2] else (0,)
    return [View(mirror, turn) for mirror in mirrors for turn in turns]
