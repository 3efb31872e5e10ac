"""Checks of the values of segmentations: classes, or ids of objects."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import fastremap
import numpy as np

from cytoloop.data.cached_image import CachedImage
from cytoloop.errors import ManifestError
from cytoloop.truth.classes import describe_classes
from cytoloop.truth.regions import instance_labels

log = logging.getLogger(__name__)

_MAX_CLASSES = 10
"""Segmentations with more values hold ids of objects."""
_MIN_COMPONENTS = 3
"""Mean number of connected components of a value, above which it is hardly the id of an object."""


def check_class_values(
    where: str, train: Sequence[CachedImage], valid: Sequence[CachedImage], names: Sequence[str]
) -> None:
    """Refuse segmentations with values that are not classes. Excluded voxels may have any value.

    Parameters
    ----------
    where : str
        Data set, for the error.
    train, valid : sequence of CachedImage
    names : sequence of str
        Classes of the values 1, 2, ...

    Raises
    ------
    ManifestError
        Values that are not classes, or classes in no training image; all of them.
    """
    splits = {"train": train, "valid": valid}
    values = {split: [_values(cached) for cached in images] for split, images in splits.items()}
    problems, like_ids = [], 0
    for split, images in splits.items():
        for cached, found in zip(images, values[split], strict=True):
            unknown = [value for value in found if value > len(names)]
            if unknown:
                like_ids += len(unknown) > len(names)
                some = ", ".join(map(str, unknown[:5])) + (" ..." if unknown[5:] else "")
                problems.append(f"{split}, {cached.id}: has values that are not classes: {some}")
    faulty = len(problems)
    for value, name in enumerate(names, 1):
        if not any(value in found for found in values["train"]):
            problems.append(f"train: no image has class {value} ({name})")
        elif not any(value in found for found in values["valid"]):
            log.warning(
                "no validation image has class %d (%s): it gets no score and no tuned threshold",
                value,
                name,
            )
    if not problems:
        return
    repair = f"The classes are {describe_classes(names)}. "
    if faulty and 2 * like_ids >= faulty:
        repair += "The values look like ids of objects: train with model=instance, no classes=."
    else:
        repair += "Name all classes, or exclude the voxels of others."
    raise ManifestError(where, problems, repair)


def warn_if_classes(train: Sequence[CachedImage]) -> None:
    """Warn if segmentations that should hold ids of objects look like classes.

    They do if no image has more than 10 values and each value has many connected components.
    """
    counts = [len(cached.object_starts) - 1 for cached in train]
    if not counts or max(counts) > _MAX_CLASSES or max(counts) < 2:
        return
    some = train[:4]
    components = [
        int(instance_labels(np.asarray(cached.labels), classes=True).max()) for cached in some
    ]
    values = [len(_values(cached)) for cached in some]
    if sum(components) > _MIN_COMPONENTS * max(sum(values), 1) and max(values) > 1:
        log.warning(
            "the segmentations have at most %d values with %.0f connected components each: if they "
            "are classes, train with model=semantic classes=[...]",
            max(values),
            sum(components) / sum(values),
        )


def _values(cached: CachedImage) -> list[int]:
    """Return the values above 0 of the valid voxels."""
    return [int(v) for v in fastremap.unique(np.where(cached.valid, cached.labels, 0)) if v]
