"""The instance rule of one image: `postprocess` settings in voxels of that image."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cytoloop.bounds import AUTO
from cytoloop.inference.postprocess.settings import PostprocessSettings
from cytoloop.inference.postprocess.training_facts import TrainingFacts
from cytoloop.instances.settings import InstanceSettings

_MIN_VOXELS = {2: 10, 3: 30}
"""Smaller objects are noise, whatever the voxel size; by number of dimensions."""
_MIN_FRACTION = 0.05
"""Of the mean training object; the smallest object where `min_volume_um3` is null."""


def instance_rule(
    settings: PostprocessSettings,
    threshold: float,
    spacing_um: Sequence[float] | None,
    training: TrainingFacts,
    ndim: int,
) -> InstanceSettings:
    """Return how objects are separated in one image.

    Without `min_volume_um3` the smallest object is 5 % of the mean training object: in um3 where
    both voxel sizes are known, else in voxels.

    Parameters
    ----------
    settings : PostprocessSettings
        With numbers in place of ``tuned``, see `PostprocessSettings.resolve_tuned`.
    threshold : float
        Probability, of this image.
    spacing_um : sequence of float, optional
        Voxel size (Z, Y, X) of this image.
    training : TrainingFacts
    ndim : int
        2 or 3.
    """
    sides = spacing_um or (1.0, 1.0, 1.0)
    voxel = math.prod(spacing_um[-ndim:]) if spacing_um else 1.0
    least, most = settings.min_volume_um3, settings.max_volume_um3
    fill_holes = settings.fill_holes
    if least is None:
        known = training.spacing_um if spacing_um else None
        ratio = math.prod(known[-ndim:]) / voxel if known else 1.0
        min_voxels = _MIN_FRACTION * training.object_voxels * ratio
    else:
        min_voxels = float(least) / voxel
    return InstanceSettings(
        threshold=threshold,
        smoothing=float(settings.smoothing),
        seed_smoothing=float(settings.seed_smoothing),
        min_depth=float(settings.min_depth),
        min_voxels=max(min_voxels, _MIN_VOXELS[ndim]),
        max_voxels=math.inf if most is None else float(most) / voxel,
        grow=round(float(settings.grow_um) / sides[-1]),
        grow_planes=round(float(settings.grow_z_um) / sides[0]) if ndim == 3 else 0,
        haze=float(settings.haze),
        fill_holes=training.fill_holes if fill_holes == AUTO else bool(fill_holes),
        border=settings.border,
        method=settings.method,
        seed_threshold=float(settings.seed_threshold),
        seed_closing=int(settings.seed_closing),
    )
