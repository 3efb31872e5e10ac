"""A network as a plan describes it, whatever its class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PlannedNetwork:
    """Levels of a U-Net-like network, from the full resolution down.

    Attributes
    ----------
    features : int
        Of the first level.
    layers : int
        Levels.
    strides, kernels : sequence
        Of each level; one number for all axes, or one for each axis.
    norm : str or None
        ``batch`` or ``instance``; None: the default of the class.
    """

    features: int
    layers: int
    strides: Sequence[Any]
    kernels: Sequence[Any]
    norm: str | None = None
