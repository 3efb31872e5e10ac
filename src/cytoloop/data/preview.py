"""The preview: a figure of augmented training patches, and of each transform alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from cytoloop.data.augmentation import Augmentation
from cytoloop.data.cached_image import CachedImage
from cytoloop.data.dataset import PatchDataset, Sample
from cytoloop.data.patch_schedule import PatchSchedule
from cytoloop.intensity.filtered import filter_pixels
from cytoloop.intensity.preparation import Preparation
from cytoloop.io.pixels import MemoryPixels, Pixels, read_whole
from cytoloop.truth.classes import class_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 6
_PATCHES = 12
# Okabe and Ito: distinguishable for colour-blind readers
_OUTLINES, _EXCLUDED = ("#F0E442", "#D55E00", "#009E73", "#CC79A7", "#E69F00"), "#56B4E9"
_BACKGROUND, _TEXT = "#101014", "#F0F0F0"


def draw_preview(
    patches: PatchDataset,
    augmentation: Augmentation,
    seed: int,
    stages: Sequence[tuple[str, np.ndarray]] = (),
) -> Figure:
    """Return a figure of augmented patches with their targets, then of each transform alone.

    Targets are outlined and voxels of weight 0 are tinted. For a stack, the plane with most target
    voxels is shown. All panels of the lower block show the same patch.

    Parameters
    ----------
    patches : PatchDataset
        Training patches.
    augmentation : Augmentation
        Augmentation of `patches`.
    seed : int
        Random seed of the patch that shows the transforms.
    stages : sequence of (str, ndarray)
        See `preparation_stages`; drawn first.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    order = np.linspace(0, patches.schedule.length - 1, _PATCHES).astype(int)
    random = [(f"{s['id']}", s) for s in (patches[(0, int(index))] for index in order)]
    transforms = _each_transform(patches, augmentation, seed)
    classes = class_names(list(patches.heads))
    show = partial(_show, heads=len(classes) or 1)
    blocks: list[tuple[str, Sequence[tuple[str, Any]], Callable[..., None]]] = [
        ("Training patches, with random transforms", random, show),
        ("One patch with each transform alone, at probability 1", transforms, show),
    ]
    if stages:
        blocks.insert(0, ("One image after each step of the preparation", stages, _show_stage))
    rows = [-(-len(panels) // _COLUMNS) for _, panels, _ in blocks]
    figure = Figure(figsize=(2.1 * _COLUMNS, 2.35 * sum(rows) + 1.2), facecolor=_BACKGROUND)
    parts: Any = figure.subfigures(len(blocks), 1, height_ratios=rows)
    for block, (title, content, draw) in zip(parts, blocks, strict=True):
        block.set_facecolor(_BACKGROUND)
        block.suptitle(title, color=_TEXT, fontsize=11)
        panels = block.subplots(-(-len(content) // _COLUMNS), _COLUMNS, squeeze=False).ravel()
        for panel in panels:
            panel.axis("off")
        for panel, (name, sample) in zip(panels, content, strict=False):
            draw(panel, sample, name)
    handles = [
        *(
            Line2D([], [], color=_OUTLINES[number % len(_OUTLINES)], label=name)
            for number, name in enumerate(classes or ["target"])
        ),
        Patch(color=_EXCLUDED, alpha=0.5, label="weight 0 (excluded, or outside the image)"),
    ]
    legend = figure.legend(handles=handles, loc="lower center", ncols=6, frameon=False)
    for text in legend.get_texts():
        text.set_color(_TEXT)
    return figure


def _each_transform(
    patches: PatchDataset, augmentation: Augmentation, seed: int
) -> list[tuple[str, Sample]]:
    """Return a patch without augmentation, then with each active transform alone."""
    labelled = [n for n, cached in enumerate(patches.images) if len(cached.object_starts) > 1]
    number = labelled[0] if labelled else 0
    active = [
        name for name, prob in augmentation.probs.items() if prob and augmentation.transforms[name]
    ]
    # around an object, to have something to see
    around_objects = replace(patches.settings, foreground_fraction=1.0)
    schedule = PatchSchedule(patches.schedule.shapes, around_objects)

    def sample(chosen: str | None) -> Sample:
        # all names are kept, so that all panels use the same random numbers
        transforms: Mapping[str, Any] = {
            name: copy.deepcopy(transform) if name == chosen else None
            for name, transform in augmentation.transforms.items()
        }
        if chosen is not None:
            transforms[chosen].prob = 1.0
        alone = PatchDataset(
            patches.images, patches.intensity, schedule, Augmentation(**transforms), patches.heads
        )
        return alone.draw(number, np.random.default_rng(seed))

    titles = {name: f"{name}, p = {augmentation.probs[name]:g}" for name in active}
    return [("original", sample(None)), *((titles[name], sample(name)) for name in active)]


def preparation_stages(
    cached: CachedImage, preparation: Preparation, normalization: Mapping[str, Any]
) -> list[tuple[str, np.ndarray]]:
    """Return a plane of an image as it is and after each filter, and the prepared one.

    Parameters
    ----------
    cached : CachedImage
        Before its preparation.
    preparation : Preparation
    normalization : mapping
        See `cytoloop.intensity.normalization.intensity_statistics`.

    Returns
    -------
    list of (str, ndarray)
        Title and plane (Y, X) of the first channel, the one with most objects.
    """
    plane: tuple[int, ...] = ()
    if cached.labels.ndim == 3:
        plane = (int(np.count_nonzero(cached.labels, axis=(1, 2)).argmax()),)
    names = [str(number) for number in range(len(cached.image))]
    pixels: Pixels = MemoryPixels(cached.image, cached.spacing_um, names)
    stages = [(f"{cached.id}\nas read", np.asarray(cached.image[0][plane]))]
    for step, config in zip(preparation.filters, preparation.steps, strict=False):
        pixels, _ = filter_pixels(cached.id, pixels, [step])
        ((name, values),) = config.items()
        title = ", ".join(f"{key} {value}" for key, value in values.items())
        stages.append((f"{name}\n{title}", read_whole(pixels)[0][plane]))
    if preparation.functions:
        image = cached.prepared(preparation, normalization).image
        stages.append(("normalised,\nafter your functions", np.asarray(image[0][plane])))
    return stages


def _show_stage(axes: Axes, plane: np.ndarray, title: str) -> None:
    """Draw a plane between its percentiles 0.5 and 99.5."""
    low, high = (float(v) for v in np.nanpercentile(plane, [0.5, 99.5]))
    axes.imshow(plane, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), interpolation="nearest")
    axes.set_title(title, color=_TEXT, fontsize=7)


def _show(axes: Axes, sample: Sample, title: str, heads: int) -> None:
    """Draw a plane of a patch with outlines of the first heads: foreground, or all classes."""
    from matplotlib.colors import ListedColormap

    image = sample["image"].numpy()
    target, valid = sample["target"][:heads].numpy() > 0, sample["weight"][0].numpy() > 0
    if valid.ndim == 3:
        plane = int((target & valid).sum((0, 2, 3)).argmax())
        title = f"{title}\nz = {plane}"
        image, target, valid = image[:, plane], target[:, plane], valid[plane]
    if len(image) in (2, 3):  # as red, green, blue
        colours = np.concatenate([image, np.zeros((3 - len(image), *image.shape[1:]))])
        axes.imshow(np.clip(np.moveaxis(colours, 0, -1), 0, 1), interpolation="nearest")
    else:
        low, high = _display_range(image[0])
        axes.imshow(image[0], cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    if not valid.all():
        tint = np.ma.masked_array(np.ones(valid.shape), valid)
        axes.imshow(tint, cmap=ListedColormap([_EXCLUDED]), alpha=0.5, interpolation="nearest")
    for number, outline in enumerate(target):
        if outline.any() and not outline.all():
            colour = _OUTLINES[number % len(_OUTLINES)]
            axes.contour(outline, [0.5], colors=colour, linewidths=0.8)
    axes.set_title(title, color=_TEXT, fontsize=7)


def _display_range(plane: np.ndarray) -> Sequence[float]:
    """Return 0 and 1 if most grey levels lie near that range, so that gain and offset are visible.

    Otherwise, return the 0.5th and 99.5th percentile.
    """
    low, high = (float(v) for v in np.percentile(plane, [0.5, 99.5]))
    return (0.0, 1.0) if low > -1 and high < 2 else (low, max(high, low + 1e-6))
