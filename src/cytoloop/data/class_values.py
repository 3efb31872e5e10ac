"""Whether the values of truth images are what a network is to learn: classes, or objects."""

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

_FEW_VALUES = 10
_MANY_PIECES = 3
"""Pieces of a value, on average, from which on it hardly is the id of an object."""


def check_class_values(
    where: str, train: Sequence[CachedImage], valid: Sequence[CachedImage], names: Sequence[str]
) -> None:
    """Refuse truth images that are none of these classes; excluded voxels may hold anything.

    Parameters
    ----------
    where : str
        The data set, for messages.
    train, valid : sequence of CachedImage
    names : sequence of str
        Of the values 1, 2, ...

    Raises
    ------
    ManifestError
        Values beyond the classes, classes that no training image shows; all of them.
    """
    found = {split: [_values(one) for one in part] for split, part in
             (("train", train), ("valid", valid))}  # fmt: skip
    problems, ids = [], 0
    for split, part in (("train", train), ("valid", valid)):
        for entry, values in zip(part, found[split], strict=True):
            beyond = [value for value in values if value > len(names)]
            if beyond:
                ids += len(beyond) > len(names)
                some = ", ".join(map(str, beyond[:5])) + (" ..." if beyond[5:] else "")
                problems.append(f"{split}, {entry.id}: holds values that are no class: {some}")
    faulty = len(problems)
    for value, name in enumerate(names, 1):
        if not any(value in values for values in found["train"]):
            problems.append(f"train: no image shows class {value} ({name})")
        elif not any(value in values for values in found["valid"]):
            log.warning(
                "no validation image shows class %d (%s): neither its score nor its threshold is "
                "known",
                value,
                name,
            )
    if not problems:
        return
    classes = f"The classes are {describe_classes(names)}"
    repair = f"{classes}: name every one, or exclude the voxels of others."
    if faulty and 2 * ids >= faulty:
        repair = f"{classes}. So many values look like objects, a number for each: these are learned with model=instance, without classes=."
    raise ManifestError(where, problems, repair)


def warn_if_classes(train: Sequence[CachedImage]) -> None:
    """Warn where images that should hold objects look as if they held classes.

    So it is where no image has more than a few values, and each of them lies in many pieces.
    """
    counts = [len(one.starts) - 1 for one in train]
    if not counts or max(counts) > _FEW_VALUES or max(counts) < 2:
        return
    pieces = [int(instance_labels(np.asarray(one.labels), classes=True).max()) for one in train[:4]]
    values = [len(_values(one)) for one in train[:4]]
    if sum(pieces) > _MANY_PIECES * max(sum(values), 1) and max(values) > 1:
        log.warning(
            "the truth has %d values at most, in %.0f pieces each: if they are classes, not "
            "objects, train with model=semantic classes=[...]",
            max(values),
            sum(pieces) / sum(values),
        )


def _values(entry: CachedImage) -> list[int]:
    """Return the values above 0 of the voxels that count."""
    return [int(v) for v in fastremap.unique(np.where(entry.valid, entry.labels, 0)) if v]
