"""Bright bodies, found by their form at many thresholds: bright and dim ones beside each other.

The parts above a threshold, from the highest to the lowest, are a tree: a part holds the parts of
higher thresholds. Of a part and those inside it, the side whose form is closer to an ellipsoid
stays. Similar: maximally stable regions (Matas et al. 2004), and the choice among nested candidates
of Arteta et al. 2012 (doi 10.1007/978-3-642-33415-3_43), without their learned score.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.segmentation import watershed

_LEVELS = 40
"""Thresholds, evenly spaced in the logarithm of grey levels."""
_SAME = 0.97
"""A part that grows by less than this on the way to a lower threshold is the same part."""
_FLOOR = 0.5
"""How far down, from Otsu's threshold to the background, a body may reach."""
_LEAST_PART = 0.3
"""Part of a body, in its own outline, that the outline which is more alike must keep."""


@dataclass(frozen=True)
class _Part:
    """A connected part above a threshold.

    Attributes
    ----------
    box : tuple of slice
        Where it lies.
    mask : numpy.ndarray
        Its voxels in the box, bool.
    form : float
        Its volume divided by that of the ellipsoid with the same moments; 1 for an ellipsoid.
    inside : list of int
        Numbers of the parts at higher thresholds that it holds.
    """

    box: tuple[slice, ...]
    mask: np.ndarray
    form: float
    inside: list[int]


def find_bodies(
    grey: np.ndarray,
    spacing: Sequence[float],
    least_voxels: float,
    outline: float,
    alike: float = 0.0,
) -> np.ndarray:
    """Return labels of bright bodies, int32.

    Parameters
    ----------
    grey : numpy.ndarray
        Smoothed grey levels ([Z,] Y, X), float32; 0 to about 1.
    spacing : sequence of float
        Size of a voxel along each axis.
    least_voxels : float
        Of a body.
    outline : float
        Level of the outline of a body: 0 is the background, 1 the body's own brightness.
    alike : float
        How alike the levels of all outlines are: 0, each body has its own; 1, all have the mean.
        Bodies of which this leaves less than 30 % are left out.
    """
    levels = np.log1p(np.maximum(grey, 0) * 20)
    if levels.max() - levels.min() <= 1e-6:
        return np.zeros(grey.shape, np.int32)
    # scikit-image makes no histogram of a tiny float32 range, and takes 3 columns for RGB
    cut = float(threshold_otsu(levels.ravel().astype(np.float64)))
    is_dark = levels <= cut
    dark = float(np.median(levels[is_dark]))
    cuts = np.linspace(cut, float(levels.max()), _LEVELS, endpoint=False)
    parts = _tree(levels, cuts, spacing, least_voxels)
    seeds = np.zeros(grey.shape, np.int32)
    brightness = [math.inf]  # of the background: nothing is above it
    for number, part in enumerate(_best_forms(parts), 1):
        seeds[part.box][part.mask] = number
        brightness.append(float(np.percentile(grey[part.box][part.mask], 90)))
    reach = levels > dark + (cut - dark) * _FLOOR
    grown = watershed(-levels, seeds, mask=reach | (seeds > 0))
    background = float(np.median(grey[is_dark]))
    levels_of = background + outline * (np.array(brightness) - background)
    found = _above(grey, grown, levels_of)
    if alike and len(brightness) > 1:
        levels_of[1:] += alike * (levels_of[1:].mean() - levels_of[1:])
        found = _without_dim(found, _above(grey, grown, levels_of))
    return _whole(found, least_voxels)


def _above(grey: np.ndarray, labels: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Return the parts of bodies that are brighter than the level of each."""
    return np.where(grey > levels[labels], labels, 0)


def _without_dim(own: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return labels of the bodies that keep 30 % of the voxels which they have in `own`."""
    size = int(own.max(initial=0)) + 1
    before, after = (np.bincount(one.ravel(), minlength=size) for one in (own, labels))
    return np.where((after >= _LEAST_PART * before)[labels], labels, 0)


def _tree(
    levels: np.ndarray, cuts: np.ndarray, spacing: Sequence[float], least_voxels: float
) -> list[_Part]:
    """Return the parts above all cuts, those of the highest cut first."""
    parts: list[_Part] = []
    above: list[tuple[int, tuple[int, ...]]] = []  # number of a part and one of its voxels
    for cut in cuts[::-1]:
        labels, count = ndimage.label(levels > cut)
        voxels = np.bincount(labels.ravel(), minlength=count + 1)
        inside: list[list[int]] = [[] for _ in range(count + 1)]
        for number, voxel in above:
            inside[labels[voxel]].append(number)
        above = []
        for label, box in enumerate(ndimage.find_objects(labels), 1):
            if voxels[label] < least_voxels:
                continue
            held = inside[label]
            mask = labels[box] == label
            points = np.argwhere(mask)
            voxel = tuple((points[0] + [side.start for side in box]).tolist())
            if len(held) == 1 and parts[held[0]].mask.sum() >= _SAME * voxels[label]:
                above.append((held[0], voxel))
                continue
            parts.append(_Part(box, mask, _form(points, spacing), held))
            above.append((len(parts) - 1, voxel))
    return parts


def _form(points: np.ndarray, spacing: Sequence[float]) -> float:
    """Return the volume of points divided by that of their ellipsoid, at most 1."""
    size = np.array(spacing)
    dims = len(size)
    spread = np.atleast_2d(np.cov(points.T * size[:, None])) if len(points) > 1 else 0.0
    moments = np.linalg.eigvalsh(spread + np.diag(size**2 / 12))
    ball = math.pi ** (dims / 2) / math.gamma(dims / 2 + 1)
    ellipsoid = ball * math.prod(np.sqrt((dims + 2) * np.maximum(moments, 1e-9)).tolist())
    return min(len(points) * math.prod(spacing) / ellipsoid, 1.0)


def _best_forms(parts: Sequence[_Part]) -> list[_Part]:
    """Return parts that do not hold each other: a part, or the best of those inside it."""
    best: list[tuple[float, list[int]]] = []
    for number, part in enumerate(parts):
        chosen = [one for held in part.inside for one in best[held][1]]
        form = sum(parts[one].form for one in chosen) / max(len(chosen), 1)
        is_better = not chosen or part.form >= form
        best.append((part.form, [number]) if is_better else (form, chosen))
    held = {one for part in parts for one in part.inside}
    return [parts[one] for top in range(len(parts)) if top not in held for one in best[top][1]]


def _whole(labels: np.ndarray, least_voxels: float) -> np.ndarray:
    """Return objects of one piece without holes; smaller ones are left out."""
    labels = labels.astype(np.int32)
    for label, box in enumerate(ndimage.find_objects(labels), 1):
        if box is None:
            continue
        here = labels[box]
        pieces, _ = ndimage.label(here == label)
        voxels = np.bincount(pieces.ravel(), minlength=2)[1:]
        largest = pieces == voxels.argmax() + 1
        filled = ndimage.binary_fill_holes(largest)
        here[pieces > 0] = 0
        if filled.sum() >= least_voxels:
            here[filled & ((here == 0) | largest)] = label
    return labels
