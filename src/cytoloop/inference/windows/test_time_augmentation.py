"""Test-time augmentation: an image is seen from several sides, and the answers are averaged."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cytoloop.errors import ConfigError

CHOICES = ("none", "flips", "full")


@dataclass(frozen=True)
class View:
    """A way to look at windows (B, C, [Z,] Y, X): mirrored along axes, then turned in the plane.

    Attributes
    ----------
    mirrored : tuple of int
        Axes from the end.
    turns : int
        Quarter turns of Y towards X.
    """

    mirrored: tuple[int, ...] = ()
    turns: int = 0

    def there(self, image: Tensor) -> Tensor:
        """Return the image as this view has it."""
        seen = torch.flip(image, self.mirrored) if self.mirrored else image
        return torch.rot90(seen, self.turns, (-2, -1)) if self.turns else seen

    def back(self, maps: Tensor) -> Tensor:
        """Return maps of the view as maps of the image."""
        seen = torch.rot90(maps, -self.turns, (-2, -1)) if self.turns else maps
        return torch.flip(seen, self.mirrored) if self.mirrored else seen


def views(name: str, size: Sequence[int]) -> list[View]:
    """Return the views of a choice.

    Parameters
    ----------
    name : str
        ``none``; ``flips``: every combination of mirrored axes (4 in 2D, 8 in 3D); ``full``: those
        and quarter turns (8 in 2D, 16 in 3D; only mirrors where windows are no squares).
    size : sequence of int
        Of a window.

    Raises
    ------
    ConfigError
        Another name.
    """
    if name not in CHOICES:
        raise ConfigError("tta", f"{name!r} is unknown", f"Expected {', '.join(CHOICES)}.")
    if name == "none":
        return [View()]
    axes = range(-len(size), 0)
    mirrors = [m for n in range(len(size) + 1) for m in itertools.combinations(axes, n)]
    turns = (0, 1) if name == "full" and size[-1] == size[-2] else (0,)
    return [View(mirror, turn) for mirror in mirrors for turn in turns]
