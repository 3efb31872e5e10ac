"""Crops, put together again: every object once, whole, from the crop that it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from cytoloop.curation.crops.crops_table import CutImage, Shot
from cytoloop.curation.crops.link_planes import name_objects
from cytoloop.curation.crops.new_objects import Drawn, claim_drawn
from cytoloop.curation.crops.tiles import Box
from cytoloop.curation.exchange.annotation.picture import Picture


@dataclass(frozen=True, eq=False)
class View:
    """A crop as it came back.

    Attributes
    ----------
    core, box : Box
    named : ndarray of int64
        (Z, Y, X) of `box`: known objects by their number, new ones by negative numbers.
    done : ndarray of bool
        (Z,): a person has finished this plane.
    owned, wide : frozenset of int
        As in `Crop`.
    """

    core: Box
    box: Box
    named: np.ndarray
    done: np.ndarray
    owned: frozenset[int]
    wide: frozenset[int]


@dataclass(eq=False)
class _Canvas:
    """An image in the making; `unseen` are voxels painted from planes that are not done."""

    labels: np.ndarray
    unseen: np.ndarray
    patches: list[tuple[Box, np.ndarray, np.ndarray]] = field(default_factory=list)

    def paint(self, done: bool) -> None:
        """Paint what comes from planes that are done, or not, where nothing is painted yet."""
        for box, patch, planes in self.patches:
            labels, unseen = (a[box.slices] for a in (self.labels, self.unseen))
            free = (patch > 0) & (labels == 0) & (planes == done)[:, None, None]
            labels[free] = patch[free]
            unseen[free] = not done


def paste_image(
    image: CutImage, pictures: Mapping[str, Picture], leave_out: bool, all_done: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of an image, and where nobody has looked.

    An object belongs to the crop that held its anchor when the image was cut; one drawn since,
    to the crop whose core holds its anchor. It comes from there, and what other crops show of
    it is passed over, so nothing is counted twice and a deleted object is gone. Beyond the
    crop's outer edge it goes on as the crops show it whose cores lie there. Where two claim a
    voxel, what is done comes before what is not, and an earlier crop before a later one.

    Parameters
    ----------
    image : CutImage
    pictures : mapping of str to Picture
        All of the image's, by name.
    leave_out : bool
        Objects of pictures that nobody has finished are left out.
    all_done : bool
        Every picture counts as finished.

    Returns
    -------
    labels : ndarray of unsigned integers
        ([Z,] Y, X), of the smallest type that holds them.
    unseen : ndarray of bool
        Same shape; the cores of unfinished pictures with their objects, without those of others.
    """
    views = _views(image, pictures, all_done)
    shape = (len(views[0].named), *image.shape[-2:])
    canvas = _Canvas(np.zeros(shape, np.uint32), np.zeros(shape, bool))
    drawn = claim_drawn([Drawn(v.core, v.box, v.named, bool(v.done.all())) for v in views], shape)
    first = max((int(view.named.max(initial=0)) for view in views), default=0)
    for view, names in zip(views, drawn, strict=True):
        patch = np.where(np.isin(view.named, list(view.owned)), view.named, 0)
        for part, number in names.items():
            patch[view.named == part] = first + number
        canvas.patches.append((view.box, patch, view.done))
        canvas.patches += _beyond(view, views)
    for done in (True, False):
        canvas.paint(done)
    unseen = canvas.unseen.copy()
    for view in views:
        there = unseen[view.core.slices]
        there |= ~view.done[:, None, None] & (canvas.labels[view.core.slices] == 0)
    if leave_out:
        canvas.labels[canvas.unseen] = 0
    labels = canvas.labels.astype(np.min_scalar_type(int(canvas.labels.max(initial=0))))
    return labels.reshape(image.shape), unseen.reshape(image.shape)


def _beyond(view: View, views: list[View]) -> list[tuple[Box, np.ndarray, np.ndarray]]:
    """Return what other crops hold of this crop's objects that reach over its outer edge."""
    here = set(np.unique(view.named).tolist()) & view.owned
    reaching = list(here & (view.wide | _at_edge(view, views)))
    patches = []
    for other in views if reaching else ():
        y0, x0, _, _ = other.box
        core = Box(other.core.y0 - y0, other.core.x0 - x0, other.core.y1 - y0, other.core.x1 - x0)
        part = other.named[core.slices]
        patch = np.where(np.isin(part, reaching), part, 0)
        ys, xs = (
            np.arange(low, high) for low, high in zip(other.core[:2], other.core[2:], strict=True)
        )
        rows = (ys >= view.box.y0) & (ys < view.box.y1)
        columns = (xs >= view.box.x0) & (xs < view.box.x1)
        patch[:, rows[:, None] & columns[None, :]] = 0
        if patch.any():
            patches.append((other.core, patch, other.done))
    return patches


def _at_edge(view: View, views: list[View]) -> set[int]:
    """Return the objects in the outermost pixels of a crop, where the image goes on."""
    box, named = view.box, view.named
    height, width = (max(v.box[i] for v in views) for i in (2, 3))
    sides = [
        (box.y0 > 0, named[:, 0]),
        (box.x0 > 0, named[:, :, 0]),
        (box.y1 < height, named[:, -1]),
        (box.x1 < width, named[:, :, -1]),
    ]
    return {int(n) for inner, side in sides if inner for n in np.unique(side)}


def _views(image: CutImage, pictures: Mapping[str, Picture], all_done: bool) -> list[View]:
    crops: dict[Box, list[Shot]] = {}
    for shot in image.shots:
        crops.setdefault(shot.core, []).append(shot)
    views = []
    for core, shots in crops.items():
        shots = sorted(shots, key=lambda shot: shot.z or 0)
        found = [pictures[shot.picture] for shot in shots]
        named = name_objects(
            np.stack([one.labels for one in found]),
            [shot.seen for shot in shots],
            [one.new for one in found],
        )
        done = [all_done or s.done or p.done for s, p in zip(shots, found, strict=True)]
        owned, wide = (
            frozenset().union(*(getattr(s, k) for s in shots)) for k in ("owned", "wide")
        )
        views.append(View(core, shots[0].box, named, np.array(done), owned, wide))
    return views
