"""What turns a map of probability into objects: numbers only, in voxels of one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BORDERS = ("none", "xy", "all")
METHODS = ("watershed", "hitif")


@dataclass(frozen=True)
class InstanceSettings:
    """How objects are made.

    Attributes
    ----------
    threshold : float
        Probability above which a voxel is foreground, 0 to 1.
    smoothing : float
        Sigma of a Gaussian on the probability before that, in steps of the finest axis.
    seed_smoothing : float
        Sigma of a Gaussian on the distance map whose maxima are seeds, in the same steps.
    min_depth : float
        How far (as a share of the peak) the distance must fall between two seeds to part them,
        [0, 1).
    min_voxels, max_voxels : float
        Smaller and larger objects are dropped.
    fill_holes : bool
        Background that one object encloses becomes part of it.
    method : str
        ``watershed``: basins of the depth, see `cytoloop.instances.segment`; ``hitif``: see
        `cytoloop.instances.hitif`.
    seed_threshold : float
        For ``hitif``: depth above which a voxel belongs to a seed.
    seed_closing : int
        For ``hitif``: radius in pixels of a closing of the seeds.
    border : str
        ``none``; ``xy``: objects that touch a side of the image are dropped; ``all``: the first
        and last plane count as well.
    """

    threshold: float = 0.5
    smoothing: float = 0.0
    seed_smoothing: float = 1.0
    min_depth: float = 0.2
    min_voxels: float = 0.0
    max_voxels: float = float("inf")
    fill_holes: bool = True
    border: str = "none"
    method: str = "watershed"
    seed_threshold: float = 0.67
    seed_closing: int = 6


def relative_spacing(spacing_um: Sequence[float] | None, ndim: int) -> tuple[float, ...]:
    """Return the length of a voxel along each axis, in units of its shortest side.

    Parameters
    ----------
    spacing_um : sequence of float, optional
        (Z, Y, X); None: cubes.
    ndim : int
        2 or 3.
    """
    if spacing_um is None:
        return (1.0,) * ndim
    sides = [float(s) for s in spacing_um[-ndim:]]
    return tuple(side / min(sides) for side in sides)
