"""Stitching of annotated crops into the label image: each object once and complete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from cytoloop.curation.crops.crops_table import CutImage
from cytoloop.curation.crops.new_objects import number_new_objects
from cytoloop.curation.crops.returned_crops import ReturnedCrop, assemble_crops
from cytoloop.curation.crops.tiles import Box
from cytoloop.curation.exchange.annotation.picture import Picture

_Patch = tuple[Box, np.ndarray, np.ndarray]  # box, labels (Z, Y, X) in it, finished planes (Z,)


@dataclass(eq=False)
class _Canvas:
    """Labels of an image, and which of their voxels come from unfinished planes."""

    labels: np.ndarray
    unfinished: np.ndarray
    patches: list[_Patch] = field(default_factory=list)

    def paint(self, done: bool) -> None:
        """Paint the finished or unfinished planes of all patches onto empty voxels."""
        for box, patch, planes in self.patches:
            labels, unfinished = (a[box.slices] for a in (self.labels, self.unfinished))
            free = (patch > 0) & (labels == 0) & (planes == done)[:, None, None]
            labels[free] = patch[free]
            unfinished[free] = not done


def stitch_image(
    image: CutImage,
    pictures: Mapping[str, Picture],
    exclude_unfinished: bool,
    all_finished: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of an image, and its unseen voxels.

    A known object belongs to the crop whose core contained its anchor when the image was cut. A
    new object belongs to the crop whose core contains its anchor now. The object is taken from
    this crop only, so no object is counted twice and a deleted object does not come back. Beyond
    the crop's box, it is continued with what other crops show of it in their cores. Where two
    objects claim a voxel, finished pictures come first, then the earlier crop.

    Parameters
    ----------
    image : CutImage
    pictures : mapping of str to Picture
        All pictures of the image, by name.
    exclude_unfinished : bool
        Leave out objects of unfinished pictures.
    all_finished : bool
        Treat every picture as finished.

    Returns
    -------
    labels : ndarray of unsigned integers
        ([Z,] Y, X), of the smallest dtype for its values.
    unseen : ndarray of bool
        Same shape. The voxels of unfinished pictures: their objects and the background of their
        cores.
    """
    crops = assemble_crops(image, pictures, all_finished)
    shape = (len(crops[0].ids), *image.shape[-2:])
    canvas = _Canvas(np.zeros(shape, np.uint32), np.zeros(shape, bool))
    largest = max((int(crop.ids.max(initial=0)) for crop in crops), default=0)
    for crop, new_numbers in zip(crops, number_new_objects(crops, shape), strict=True):
        patch = np.where(np.isin(crop.ids, list(crop.owned)), crop.ids, 0)
        for new_id, number in new_numbers.items():
            patch[crop.ids == new_id] = largest + number
        canvas.patches.append((crop.box, patch, crop.done))
        canvas.patches += _continue_objects(crop, crops)
    for done in (True, False):
        canvas.paint(done)
    unseen = canvas.unfinished.copy()
    for crop in crops:
        core = unseen[crop.core.slices]
        core |= ~crop.done[:, None, None] & (canvas.labels[crop.core.slices] == 0)
    if exclude_unfinished:
        canvas.labels[canvas.unfinished] = 0
    labels = canvas.labels.astype(np.min_scalar_type(int(canvas.labels.max(initial=0))))
    return labels.reshape(image.shape), unseen.reshape(image.shape)


def _continue_objects(crop: ReturnedCrop, crops: list[ReturnedCrop]) -> list[_Patch]:
    """Return what other crops show, outside this crop's box, of its objects that reach its edge."""
    present = set(np.unique(crop.ids).tolist()) & crop.owned
    reaching = list(present & (crop.wide | _objects_at_edge(crop, crops)))
    patches = []
    for other in crops if reaching else ():
        y0, x0, _, _ = other.box
        core = Box(other.core.y0 - y0, other.core.x0 - x0, other.core.y1 - y0, other.core.x1 - x0)
        part = other.ids[core.slices]
        patch = np.where(np.isin(part, reaching), part, 0)
        ys, xs = (
            np.arange(low, high) for low, high in zip(other.core[:2], other.core[2:], strict=True)
        )
        rows = (ys >= crop.box.y0) & (ys < crop.box.y1)
        columns = (xs >= crop.box.x0) & (xs < crop.box.x1)
        patch[:, rows[:, None] & columns[None, :]] = 0
        if patch.any():
            patches.append((other.core, patch, other.done))
    return patches


def _objects_at_edge(crop: ReturnedCrop, crops: list[ReturnedCrop]) -> set[int]:
    """Return the ids in the outermost pixels of a crop's box, except at the image border."""
    box, ids = crop.box, crop.ids
    height, width = (max(c.box[i] for c in crops) for i in (2, 3))
    sides = [
        (box.y0 > 0, ids[:, 0]),
        (box.x0 > 0, ids[:, :, 0]),
        (box.y1 < height, ids[:, -1]),
        (box.x1 < width, ids[:, :, -1]),
    ]
    return {int(n) for inner, side in sides if inner for n in np.unique(side)}
