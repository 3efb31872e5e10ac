"""Settings of instance segmentation: numbers in voxels of one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BORDERS = ("none", "xy", "all")
METHODS = ("watershed", "hitif")


@dataclass(frozen=True)
class InstanceSettings:
    """Settings that turn a probability map into objects.

    Lengths are in units of the shortest voxel side, see `relative_spacing`.

    Attributes
    ----------
    threshold : float
        A voxel is foreground if its probability is above this, 0 to 1.
    smoothing : float
        Sigma of a Gaussian filter on the probability map before the threshold.
    seed_smoothing : float
        Sigma of a Gaussian filter on the distance map. Its local maxima are the seeds.
    min_depth : float
        Minimum depth of the valley between two seeds, as a fraction of the lower maximum, [0, 1).
        Seeds with a shallower valley between them become one object.
    min_voxels, max_voxels : float
        Smaller and larger objects are removed.
    fill_holes : bool
        Fill background that is enclosed by one object.
    grow, grow_planes : int
        Voxels by which objects grow within planes and along Z, see `cytoloop.instances.grow`.
    haze : float
        Least brightness of an object's voxels, of an image whose brightness is known: 0 to 1, 0.5 =
        as around its objects. Applied after growth.
    method : str
        ``watershed``: on the distance map, see `cytoloop.instances.watershed`. ``hitif``: on the
        contour map, see `cytoloop.instances.hitif`.
    seed_threshold : float
        ``hitif`` only: a voxel belongs to a seed if the distance map is above this, 0 to 1.
    seed_closing : int
        ``hitif`` only: radius in pixels of a binary closing of the seeds.
    border : str
        ``none``: keep all objects. ``xy``: remove objects that touch the border in Y or X.
        ``all``: also remove objects that touch the first or last plane.
    """

    threshold: float = 0.5
    smoothing: float = 0.0
    seed_smoothing: float = 1.0
    min_depth: float = 0.2
    min_voxels: float = 0.0
    max_voxels: float = float("inf")
    fill_holes: bool = True
    grow: int = 0
    grow_planes: int = 0
    haze: float = 0.0
    border: str = "none"
    method: str = "watershed"
    seed_threshold: float = 0.67
    seed_closing: int = 6


def relative_spacing(spacing_um: Sequence[float] | None, ndim: int) -> tuple[float, ...]:
    """Return the voxel size along each axis in units of the shortest side.

    Parameters
    ----------
    spacing_um : sequence of float, optional
        (Z, Y, X) in um; None for cubic voxels.
    ndim : int
        2 or 3.
    """
    if spacing_um is None:
        return (1.0,) * ndim
    sides = [float(s) for s in spacing_um[-ndim:]]
    return tuple(side / min(sides) for side in sides)
