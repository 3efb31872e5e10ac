"""Instance segmentation of a probability map."""

from __future__ import annotations

from collections.abc import Sequence

from cytoloop.instances.blocks import NewVolume, Volume, in_memory
from cytoloop.instances.finish import finish_objects
from cytoloop.instances.hierarchy import WatershedHierarchy
from cytoloop.instances.hitif import hitif_watershed
from cytoloop.instances.objects import ObjectMeasurements
from cytoloop.instances.settings import InstanceSettings, relative_spacing


def segment(
    probability: Volume,
    settings: InstanceSettings,
    spacing_um: Sequence[float] | None = None,
    new_volume: NewVolume | None = None,
    block: Sequence[int] | None = None,
    distance: Volume | None = None,
    contour: Volume | None = None,
    brightness: Volume | None = None,
) -> tuple[Volume, ObjectMeasurements]:
    """Return the objects of a probability map, and their measurements.

    Parameters
    ----------
    probability : Volume
        ([Z,] Y, X): 0..255 (uint8) or 0..1 (float).
    settings : InstanceSettings
    spacing_um : sequence of float, optional
        Voxel size (Z, Y, X) in um; None for cubic voxels.
    new_volume : callable, optional
        Makes the volumes of labels and intermediate results. None: in memory.
    block : sequence of int, optional
        Size of a block. It determines the memory that is needed.
    distance : Volume, optional
        Same shape and units as `probability`: predicted distance map. None: the distance to
        background is computed.
    contour : Volume, optional
        Same shape and units: predicted contour map. Used only with a predicted distance map.
    brightness : Volume, optional
        Same shape and units: brightness of the image. None: no haze is cut off.

    Returns
    -------
    labels : Volume of unsigned integers
        Same shape, 1..N in order of the positions of the objects' maxima; the smallest dtype that
        holds N.
    measurements : ObjectMeasurements

    Raises
    ------
    ImageError
        More regions than 32 bits can number; or ``hitif`` without its maps.
    """
    new_volume = new_volume or in_memory
    if settings.method == "hitif":
        spacing = relative_spacing(spacing_um, len(probability.shape))
        objects = hitif_watershed(probability, distance, contour, settings, spacing)
        return finish_objects(objects, probability, settings, new_volume, brightness=brightness)
    hierarchy = WatershedHierarchy(
        probability, settings, spacing_um, new_volume, block, distance, contour
    )
    return hierarchy.objects(settings, brightness)
