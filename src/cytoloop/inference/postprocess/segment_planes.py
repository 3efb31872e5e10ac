"""The objects of a stack that was predicted plane by plane."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from cytoloop.inference.volume_storage import plane_slabs
from cytoloop.instances import segment
from cytoloop.instances.blocks import BLOCK_VOXELS, Blocks, NewVolume, Volume, plane_of
from cytoloop.instances.distance_map import full_scale
from cytoloop.instances.join_planes import PlaneJoiner
from cytoloop.instances.objects import ObjectMeasurements, PlaneMeasurements
from cytoloop.instances.settings import InstanceSettings

FindObjects = Callable[[int], np.ndarray]
"""Number of a plane to its labels (Y, X), 1..N."""


def plane_objects(
    maps: Mapping[str, Volume], rule: InstanceSettings, spacing_um: Sequence[float] | None
) -> FindObjects:
    """Return a function that separates the objects of a plane.

    Parameters
    ----------
    maps : mapping of str to Volume
        (Z, Y, X) each: ``probability``, and ``distance`` and ``contour`` where they are predicted,
        ``brightness`` where haze is cut off; or ``labels``.
    rule : InstanceSettings
        For 2D objects.
    spacing_um : sequence of float or None
        Voxel size (Z, Y, X).
    """

    def find(number: int) -> np.ndarray:
        plane = {name: plane_of(volume, number) for name, volume in maps.items()}
        if "labels" in plane:
            labels = plane["labels"]
            return np.searchsorted(np.union1d([0], labels), labels)
        found, _ = segment(
            plane["probability"],
            rule,
            spacing_um,
            block=Blocks.for_shape(plane["probability"].shape, BLOCK_VOXELS).size,
            distance=plane.get("distance"),
            contour=plane.get("contour"),
            brightness=plane.get("brightness"),
        )
        return np.asarray(found)

    return find


def label_planes(
    probability: Volume,
    find: FindObjects,
    join_overlap: float | None,
    new_volume: NewVolume,
) -> tuple[Volume, ObjectMeasurements]:
    """Return the labels of a stack and the measurements of its objects.

    A few planes are in memory at a time.

    Parameters
    ----------
    probability : Volume
        (Z, Y, X).
    find : callable
        See `plane_objects`.
    join_overlap : float or None
        See `PlaneJoiner`.
    new_volume : callable
        Makes an empty volume, see `cytoloop.instances.segment.NewVolume`.

    Returns
    -------
    labels : Volume of unsigned integers
        (Z, Y, X), 1..N; unique over the stack; the smallest dtype that holds N.
    measurements : ObjectMeasurements
        Of 2D objects, or of 3D objects where planes are joined.
    """
    shape = tuple(int(n) for n in probability.shape)
    joiner = PlaneJoiner(join_overlap)
    numbered = new_volume("numbered", shape, np.uint32, shape)
    for slab in plane_slabs(shape):
        numbered[slab] = np.stack([joiner.add(find(n)) for n in range(slab.start, slab.stop)])
    kind = PlaneMeasurements if join_overlap is None else ObjectMeasurements
    objects = kind(joiner.count, shape)
    dtype = np.min_scalar_type(joiner.count)
    labels = new_volume("labels", shape, dtype, shape)
    for slab in plane_slabs(shape):
        part = np.asarray(numbered[slab])
        labels[slab] = part.astype(dtype)
        box = (slab, *(slice(0, n) for n in shape[1:]))
        unit = np.asarray(probability[box], np.float32) / full_scale(probability.dtype)
        objects.add(part, unit, box)
    return labels, objects
