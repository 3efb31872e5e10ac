"""The size of objects that a model knows, and the grid on which an image shows objects so large."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cytoloop.errors import ManifestError
from cytoloop.inference.postprocess.training_facts import TrainingFacts
from cytoloop.io.pixels import Pixels
from cytoloop.io.voxel_size import Spacing
from cytoloop.manifest import Row

_TOLERANCE = 1.15
"""A model of training images of one size takes objects larger or smaller by this factor as is."""
_WITHIN = 0.6
"""Part of the logarithmic range of a model that is used: at its ends it saw few objects."""
_SEED_SMOOTHING = 0.1
"""Sigma of the smoothing of seeds, in diameters of objects."""
_MOST_SMOOTHING = 50.0
"""Voxels; of objects of 500 voxels and more, seeds are smoothed no further."""


@dataclass(frozen=True)
class ObjectScale:
    """The objects that a model knows.

    Attributes
    ----------
    diameter : tuple of float
        Smallest and largest diameter across the optical axis, in pixels, that needs no resampling.
    anisotropy : tuple of float
        Smallest and largest Z size of a voxel divided by its Y size.
    """

    diameter: tuple[float, float]
    anisotropy: tuple[float, float]

    @property
    def typical(self) -> float:
        """Typical diameter in pixels."""
        return math.sqrt(self.diameter[0] * self.diameter[1])

    @classmethod
    def of_model(cls, image: Mapping[str, Any]) -> ObjectScale | None:
        """Return the scale of a model; None where its training objects are unknown.

        Parameters
        ----------
        image : mapping
            Image settings of its checkpoint: ``object_diameter_px`` and ``anisotropy`` (ranges), or
            ``object_voxels`` and ``spacing_um``.
        """
        if image.get("object_diameter_px"):
            low, high = (float(side) for side in image["object_diameter_px"])
            middle, spread = math.sqrt(low * high), (high / low) ** (_WITHIN / 2)
            ends = image.get("anisotropy") or (1, 1)
            return cls((middle / spread, middle * spread), (float(ends[0]), float(ends[1])))
        voxels = float(image.get("object_voxels") or 0)
        if not voxels:
            return None
        dims = int(image["spatial_dims"])
        spacing = image.get("spacing_um")
        ratio = float(spacing[0]) / float(spacing[1]) if spacing and dims == 3 else 1.0
        middle = diameter_of(voxels * ratio, dims)
        return cls((middle / _TOLERANCE, middle * _TOLERANCE), (ratio, ratio))


def diameter_of(size: float, dims: int) -> float:
    """Return the diameter of a ball (3D) or disc (2D) of a volume or area, in the same unit."""
    return math.sqrt(4 * size / math.pi) if dims == 2 else (6 * size / math.pi) ** (1 / 3)


def size_of(diameter: float, dims: int) -> float:
    """Return the volume (3D) or area (2D) of a ball or disc."""
    return math.pi / 4 * diameter**2 if dims == 2 else math.pi / 6 * diameter**3


def pixels_across(diameter_um: float, pixels: Pixels) -> float:
    """Return a diameter in pixels; it is in pixels already where no voxel size is known."""
    return diameter_um / pixels.spacing_um[1] if pixels.spacing_um else diameter_um


def facts_of_objects(
    training: TrainingFacts, diameter: float, dims: int, finest: float | None = None
) -> TrainingFacts:
    """Return the facts for post-processing of images whose objects have this diameter.

    A model without a tuned ``seed_smoothing`` gets a tenth of the diameter: objects of 40 pixels
    need more smoothing than those of 10.

    Parameters
    ----------
    training : TrainingFacts
    diameter : float
        In um; in pixels where no voxel size is known.
    dims : int
        2 or 3.
    finest : float, optional
        Shortest side of a voxel, in the unit of the diameter. None: ``seed_smoothing`` stays.
    """
    tuned = dict(training.tuned or {})
    if finest:
        sigma = min(max(_SEED_SMOOTHING * diameter / finest, 1.0), _MOST_SMOOTHING)
        tuned.setdefault("seed_smoothing", round(sigma, 3))
    return replace(
        training,
        spacing_um=(1.0, 1.0, 1.0),
        object_voxels=size_of(diameter, dims),
        tuned=tuned or None,
        object_diameter=diameter,
    )


def facts_of_row(training: TrainingFacts, row: Row, spacing_um: Spacing | None) -> TrainingFacts:
    """Return the facts for the stored maps of an image, as they were when it was predicted.

    Parameters
    ----------
    training : TrainingFacts
    row : Row
        Of predictions.csv.
    spacing_um : tuple of float or None
        Voxel size (Z, Y, X) of the image.

    Raises
    ------
    ManifestError
        ``object_diameter_um`` is no number above 0.
    """
    if not row["object_diameter_um"] or training.spatial_dims is None:
        return training
    try:
        diameter = float(row["object_diameter_um"])
    except ValueError:
        diameter = math.nan
    if not 0 < diameter < math.inf:
        raise ManifestError(
            row.where("object_diameter_um"),
            f"{row['object_diameter_um']!r} is no diameter",
            "Expected a number above 0, or nothing.",
        )
    dims = training.spatial_dims
    return facts_of_objects(training, diameter, dims, finest_side(spacing_um, dims))


def finest_side(spacing_um: Spacing | None, dims: int) -> float:
    """Return the shortest side of a voxel in um; 1 without a voxel size."""
    return min(spacing_um[-dims:]) if spacing_um else 1.0


def scaled_shape(
    shape: Sequence[int], anisotropy: float | None, diameter: float, scale: ObjectScale
) -> tuple[int, ...]:
    """Return the shape ([Z,] Y, X) on which objects are as large as the model knows them.

    Y and X change as little as needed. Planes change where voxels would be flatter or longer than
    the model knows them; without a voxel size all axes change alike.

    Parameters
    ----------
    shape : sequence of int
    anisotropy : float or None
        Z size of a voxel divided by its Y size; None where it is unknown.
    diameter : float
        Of the image's objects, in pixels.
    scale : ObjectScale
    """
    low, high = scale.diameter
    factor = min(max(diameter, low), high) / diameter
    plane = [max(round(n * factor), 1) for n in shape[-2:]]
    if len(shape) == 2:
        return tuple(plane)
    if anisotropy is None:
        along = factor
    else:
        ratio = anisotropy * factor  # Z size by the new Y size
        along = ratio / min(max(ratio, scale.anisotropy[0]), scale.anisotropy[1])
    return (max(round(shape[0] * along), 1), *plane)
