"""Annotated images used for tuning: which validation and training images take part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np

from cytoloop.evaluation.counts.skeletons import is_thin
from cytoloop.evaluation.inputs.images import is_mask
from cytoloop.truth.regions import instance_labels

T = TypeVar("T")

MAX_IMAGES = 16
"""Images of validation, and images of training, that are used at most; see `evenly`."""
MAX_VOXELS = 2**25
"""Voxels of the training images together, at most: a CPU needs about 1 s for a million."""
ENOUGH_OBJECTS = 500
"""Objects of validation images that suffice. Measured: 800 objects chose better without training
images, 144 objects better with them."""

ENOUGH_IMAGES = 4
"""Validation images that suffice for the threshold. Measured: the threshold of one stack of brain
vessels cost 0.03 to 0.18 Dice on those of another laboratory, compared with 0.5."""


class AnnotatedImage(Protocol):
    """An annotated image, such as `cytoloop.data.cached_image.CachedImage`."""

    @property
    def id(self) -> str:
        """Name of the image."""

    @property
    def image(self) -> np.ndarray:
        """Grey levels (C, [Z,] Y, X)."""

    @property
    def labels(self) -> np.ndarray:
        """Labels ([Z,] Y, X), 0 = background."""

    @property
    def valid(self) -> np.ndarray:
        """Mask ([Z,] Y, X), False = excluded."""

    @property
    def spacing_um(self) -> tuple[float, float, float] | None:
        """Voxel size (Z, Y, X)."""


def evenly(rows: Sequence[T]) -> list[T]:
    """Return at most `MAX_IMAGES` items, evenly spaced over a list."""
    count = min(len(rows), MAX_IMAGES)
    return [rows[number * len(rows) // count] for number in range(count)]


def select_training(objects: int, trained_on: Sequence[AnnotatedImage]) -> list[AnnotatedImage]:
    """Return the training images to use, given the number of objects in the validation images."""
    found, room = [], MAX_VOXELS if objects < ENOUGH_OBJECTS else 0
    for one in trained_on:
        if one.labels.size <= room:
            found.append(one)
            room -= one.labels.size
    return found


def count_objects(one: AnnotatedImage) -> int:
    """Return the number of objects in the truth of an image."""
    return int(np.count_nonzero(np.unique(true_objects(one))))


def has_objects(examples: Sequence[AnnotatedImage]) -> bool:
    """Return whether an image has two objects or more to separate.

    Masks of thin structures have none: their pieces end where a mask has a gap.
    """
    most = max((count_objects(one) for one in examples), default=0)
    return most >= 2 and not are_thin(examples)


def are_thin(examples: Sequence[AnnotatedImage]) -> bool:
    """Return whether all images are masks of thin structures, such as filaments and vessels."""
    masks = [np.where(one.valid, one.labels, 0) for one in examples]
    return all(is_mask(one) and is_thin(one > 0) for one in masks)


def true_objects(one: AnnotatedImage) -> np.ndarray:
    """Return the truth with one label per object; masks are split into components."""
    return instance_labels(np.asarray(one.labels), valid=np.asarray(one.valid))
