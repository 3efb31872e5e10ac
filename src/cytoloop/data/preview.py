"""The preview: what the network is shown, on one sheet."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cytoloop.data.augmentation import Augmentation
from cytoloop.data.dataset import PatchDataset, Sample
from cytoloop.truth.classes import class_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 6
_RANDOM = 12
# Okabe and Ito: told apart by colour-blind readers too
_OUTLINES, _EXCLUDED = ("#F0E442", "#D55E00", "#009E73", "#CC79A7", "#E69F00"), "#56B4E9"
_BACKGROUND, _TEXT = "#101014", "#F0F0F0"


def draw_preview(patches: PatchDataset, augmentation: Augmentation, seed: int) -> Figure:
    """Return a sheet of augmented patches with their targets, then each part by itself.

    Of a stack the plane with most of the target is shown. The target is outlined; voxels that do
    not count are tinted. All tiles of the lower block show the same patch.

    Parameters
    ----------
    patches : PatchDataset
        As training takes them.
    augmentation : Augmentation
        That of `patches`.
    seed : int
        Of the patch that shows the parts.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    order = np.linspace(0, patches.schedule.length - 1, _RANDOM).astype(int)
    random = [(f"{s['id']}", s) for s in (patches[(0, int(index))] for index in order)]
    parts = _part_by_part(patches, augmentation, seed)
    rows = [-(-len(block) // _COLUMNS) for block in (random, parts)]
    figure = Figure(figsize=(2.1 * _COLUMNS, 2.35 * sum(rows) + 1.2), facecolor=_BACKGROUND)
    halves: Any = figure.subfigures(2, 1, height_ratios=rows)
    upper, lower = halves
    titles = (
        "Patches as training takes them, all parts by chance",
        "Each part that is switched on, by itself and for sure, on one patch",
    )
    for block, samples, title in zip((upper, lower), (random, parts), titles, strict=True):
        block.set_facecolor(_BACKGROUND)
        block.suptitle(title, color=_TEXT, fontsize=11)
        axes = block.subplots(-(-len(samples) // _COLUMNS), _COLUMNS, squeeze=False).ravel()
        for place in axes:
            place.axis("off")
        for place, (name, sample) in zip(axes, samples, strict=False):
            _show(place, sample, name, len(class_names(list(patches.heads))) or 1)
    handles = [
        *(
            Line2D([], [], color=_OUTLINES[number % len(_OUTLINES)], label=name)
            for number, name in enumerate(class_names(list(patches.heads)) or ["target"])
        ),
        Patch(color=_EXCLUDED, alpha=0.5, label="does not count (excluded, or outside the image)"),
    ]
    legend = figure.legend(handles=handles, loc="lower center", ncols=6, frameon=False)
    for text in legend.get_texts():
        text.set_color(_TEXT)
    return figure


def _part_by_part(
    patches: PatchDataset, augmentation: Augmentation, seed: int
) -> list[tuple[str, Sample]]:
    """Return a patch as it is and as each part that is switched on changes it."""
    labelled = [n for n, entry in enumerate(patches.entries) if len(entry.starts) > 1]
    number = labelled[0] if labelled else 0
    on = [name for name, prob in augmentation.probs.items() if prob and augmentation.parts[name]]

    def one(chosen: str | None) -> Sample:
        # the names of all parts stay, so that all tiles draw the same random numbers
        kept: Mapping[str, Any] = {
            name: copy.deepcopy(part) if name == chosen else None
            for name, part in augmentation.parts.items()
        }
        if chosen is not None:
            kept[chosen].prob = 1.0
        alone = PatchDataset(
            patches.entries,
            patches.levels,
            patches.patch_size,
            patches.schedule,
            1.0,  # around an object: something to see
            Augmentation(**kept),
            seed,
            patches.heads,
        )
        return alone.draw(number, np.random.default_rng(seed))

    titles = {name: f"{name}, p = {augmentation.probs[name]:g}" for name in on}
    return [("as it is", one(None)), *((titles[name], one(name)) for name in on)]


def _show(axes: Axes, sample: Sample, title: str, heads: int) -> None:
    """Draw a plane of a patch, with the outlines of its first heads: foreground, or classes."""
    from matplotlib.colors import ListedColormap

    image = sample["image"].numpy()
    target, counts = sample["target"][:heads].numpy() > 0, sample["weight"][0].numpy() > 0
    if counts.ndim == 3:
        plane = int((target & counts).sum((0, 2, 3)).argmax())
        title = f"{title}\nz = {plane}"
        image, target, counts = image[:, plane], target[:, plane], counts[plane]
    if len(image) in (2, 3):  # as red, green, blue
        colours = np.concatenate([image, np.zeros((3 - len(image), *image.shape[1:]))])
        axes.imshow(np.clip(np.moveaxis(colours, 0, -1), 0, 1), interpolation="nearest")
    else:
        low, high = _display_range(image[0])
        axes.imshow(image[0], cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    if not counts.all():
        tint = np.ma.masked_array(np.ones(counts.shape), counts)
        axes.imshow(tint, cmap=ListedColormap([_EXCLUDED]), alpha=0.5, interpolation="nearest")
    for number, outline in enumerate(target):
        if outline.any() and not outline.all():
            colour = _OUTLINES[number % len(_OUTLINES)]
            axes.contour(outline, [0.5], colors=colour, linewidths=0.8)
    axes.set_title(title, color=_TEXT, fontsize=7)


def _display_range(plane: np.ndarray) -> Sequence[float]:
    """Return fixed limits where the plane keeps to 0 and 1: gain and offset stay visible."""
    low, high = (float(v) for v in np.percentile(plane, [0.5, 99.5]))
    return (0.0, 1.0) if low > -1 and high < 2 else (low, max(high, low + 1e-6))
