"""Grow or shrink objects by whole voxels: to outlines as wide as an annotator draws them."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from cytoloop.instances.blocks import Blocks, NewVolume, Volume, add_halo, relative_to


def grow_objects(
    regions: Volume,
    number: np.ndarray,
    pixels: int,
    planes: int,
    new_volume: NewVolume,
    blocks: Blocks,
) -> Volume:
    """Return the labels of objects after growth, ([Z,] Y, X) uint32, computed block by block.

    Parameters
    ----------
    regions : Volume
        ([Z,] Y, X): regions.
    number : ndarray of int
        Label of each region's object.
    pixels, planes
        As for `grow_labels`.
    new_volume : callable
        Makes an empty volume, see `cytoloop.instances.segment.NewVolume`.
    blocks : Blocks
    """
    grown = new_volume("grown", blocks.shape, np.uint32, blocks.size)
    halo = [abs(planes), abs(pixels), abs(pixels)][-len(blocks.shape) :]
    for box in blocks:
        window = add_halo(box, halo, blocks.shape)
        labels = number[np.asarray(regions[window])].astype(np.uint32)
        grown[box] = grow_labels(labels, pixels, planes)[relative_to(box, window)]
    return grown


def grow_labels(labels: np.ndarray, pixels: int, planes: int = 0) -> np.ndarray:
    """Return labels that reach further into the background, or less far.

    Objects that touch keep the border between them. Where two grow into the same voxel at the same
    step, the one with the larger label has it. Sides of the image take nothing away.

    Parameters
    ----------
    labels : ndarray of integers
        ([Z,] Y, X), 0 = background.
    pixels : int
        Steps within planes; below 0 objects shrink.
    planes : int
        Steps along Z, of stacks.
    """
    for step in range(abs(pixels)):  # by turns a cross and a square: together nearly a disk
        labels = _step(labels, (-2, -1), pixels > 0, square=step % 2 == 1)
    for _ in range(abs(planes) if labels.ndim == 3 else 0):
        labels = _step(labels, (0,), planes > 0)
    return labels


def _step(
    labels: np.ndarray, axes: tuple[int, ...], grows: bool, square: bool = False
) -> np.ndarray:
    """Return labels after one step along some axes, with (`square`) or without diagonals."""
    seen = labels if grows else (labels > 0).view(np.uint8)
    filtered = ndimage.maximum_filter1d if grows else ndimage.minimum_filter1d
    combine = np.maximum if grows else np.minimum
    found = filtered(seen, 3, axes[0], mode="nearest")
    for axis in axes[1:]:
        of_axis = filtered(found if square else seen, 3, axis, mode="nearest")
        found = of_axis if square else combine(found, of_axis)
    return np.where(labels == 0, found, labels) if grows else np.where(found, labels, 0)
