"""Crops of an image as they came back from annotation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cytoloop.curation.crops.crops_table import CropPlane, CutImage
from cytoloop.curation.crops.link_planes import link_planes
from cytoloop.curation.crops.tiles import Box
from cytoloop.curation.exchange.annotation.picture import Picture


@dataclass(frozen=True, eq=False)
class ReturnedCrop:
    """A crop after annotation.

    Attributes
    ----------
    core, box : Box
        As in `Crop`.
    ids : ndarray of int64
        (Z, Y, X) of `box`: numbers of known objects, negative ids of new ones, see `link_planes`.
    done : ndarray of bool
        (Z,): the plane is finished.
    owned, wide : frozenset of int
        As in `Crop`.
    """

    core: Box
    box: Box
    ids: np.ndarray
    done: np.ndarray
    owned: frozenset[int]
    wide: frozenset[int]


def assemble_crops(
    image: CutImage, pictures: Mapping[str, Picture], all_finished: bool
) -> list[ReturnedCrop]:
    """Return the crops of an image, their planes linked to 3D objects.

    Parameters
    ----------
    image : CutImage
    pictures : mapping of str to Picture
        All pictures of the image, by name.
    all_finished : bool
        Treat every picture as finished.
    """
    by_core: dict[Box, list[CropPlane]] = {}
    for plane in image.planes:
        by_core.setdefault(plane.core, []).append(plane)
    crops = []
    for core, planes in by_core.items():
        planes = sorted(planes, key=lambda plane: plane.z or 0)
        found = [pictures[plane.picture] for plane in planes]
        ids = link_planes(
            np.stack([one.labels for one in found]),
            [plane.seen for plane in planes],
            [one.new_labels for one in found],
        )
        done = [all_finished or s.done or p.done for s, p in zip(planes, found, strict=True)]
        owned = frozenset().union(*(plane.owned for plane in planes))
        wide = frozenset().union(*(plane.wide for plane in planes))
        crops.append(ReturnedCrop(core, planes[0].box, ids, np.array(done), owned, wide))
    return crops
