"""`data.resample=auto`: a coarser voxel size where objects are many pixels wide.

A network sees an object whole, and its neighbours, where the object is some 20 to 40 pixels wide.
Of wider ones a step shows fewer and costs more. Cellpose and StarDist ask for images of such sizes.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from cytoloop.curation.checks.result import CheckResult
from cytoloop.curation.checks.voxel_sizes import median_spacing
from cytoloop.io.voxel_size import Spacing

log = logging.getLogger(__name__)

_WIDEST = {2: 48.0, 3: 64.0}
"""Mean width of objects, in voxels of the finest axis, above which images are halved. Nuclei of 38
voxels in 3D are outlined better at full resolution, in equal time."""
_LEAST_SIDE = 64
"""Smallest Y and X of an image after halving."""


def coarser_spacing(images: Sequence[CheckResult]) -> Spacing | None:
    """Return the voxel size (Z, Y, X) in um to train at; None: the images' own.

    The finest axes are halved until objects, taken to be balls, are on average no wider than
    48 pixels (2D) or 64 voxels (3D).

    Parameters
    ----------
    images : sequence of CheckResult
        Of the training images, whose labels are objects.
    """
    images = [one for one in images if one.shape and one.objects]
    if not images:
        return None
    dims = len(images[0].shape or ())
    known = [one.spacing_um for one in images if one.spacing_um]
    spacing = (median_spacing(known) if len(known) == len(images) else None) or (1.0, 1.0, 1.0)
    finest = min(spacing[-dims:])
    width = _mean_width(images, dims, len(known) == len(images)) / finest
    side = min(min((one.shape or ())[-2:]) for one in images)
    factor = 1
    while width / factor > _WIDEST[dims] and side // (2 * factor) >= _LEAST_SIDE:
        factor *= 2
    if factor == 1:
        return None
    if len(known) < len(images):
        log.warning(
            "objects are about %.0f pixels wide: at 1/%d of the resolution a training learns more "
            "in its time. State the voxel size of every image to have that: column spacing_um, or "
            "spacing_um= of `cytoloop curate`",
            width,
            factor,
        )
        return None
    z, y, x = (max(size, finest * factor) for size in spacing)
    coarser = (spacing[0] if dims == 2 else z, y, x)
    log.info(
        "objects are about %.0f voxels wide: training at a voxel size of %s um, where they are "
        "%.0f wide (data.resample=null: as the images are)",
        width,
        " x ".join(f"{size:.3g}" for size in coarser[-dims:]),
        width / factor,
    )
    return coarser


def _mean_width(images: Sequence[CheckResult], dims: int, in_um: bool) -> float:
    """Return the diameter of a ball of the mean size of objects, in um or in voxels."""
    total = 0.0
    for one in images:
        sizes = (one.spacing_um if in_um and one.spacing_um else (1.0, 1.0, 1.0))[-dims:]
        total += one.foreground * math.prod(one.shape or ()) * math.prod(sizes)
    mean = total / sum(one.objects for one in images)
    return 2 * math.sqrt(mean / math.pi) if dims == 2 else 2 * (3 * mean / (4 * math.pi)) ** (1 / 3)
