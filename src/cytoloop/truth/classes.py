"""Semantic classes: their names, the heads that predict them, and the class of each voxel.

In an image of classes, 0 is background and i is class i. A network has one head for each class,
``class_NAME``, in the order of the values. A checkpoint stores the classes as this list of heads.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from cytoloop.errors import ConfigError

CLASS_PREFIX = "class_"
"""Prefix of a class's head: it separates classes from other heads, such as ``foreground``."""
MAX_CLASSES = 255
"""Class images are uint8."""
_NAME = r"[A-Za-z][A-Za-z0-9_]{0,39}"  # names become table columns, metrics and file names


def class_heads(names: Sequence[str]) -> list[str]:
    """Return the names of the heads that predict these classes.

    >>> class_heads(["nucleus", "spindle"])
    ['class_nucleus', 'class_spindle']
    """
    return [f"{CLASS_PREFIX}{name}" for name in names]


def class_names(heads: Any) -> tuple[str, ...]:
    """Return the classes that a list of heads predicts; empty if the heads are not classes.

    >>> class_names(["class_nucleus", "class_spindle"]), class_names(["foreground"])
    (('nucleus', 'spindle'), ())

    Parameters
    ----------
    heads : list of str
        From a config or a checkpoint. Any other value gives an empty tuple.
    """
    if not isinstance(heads, (list, tuple)):
        return ()
    names = tuple(str(head).removeprefix(CLASS_PREFIX) for head in heads)
    if [str(head) for head in heads] != class_heads(names) or _name_problems(names):
        return ()
    return names


def parse_class_names(given: Any, where: str = "classes") -> tuple[str, ...]:
    """Return the class names that the user gave, in the order of their values.

    Parameters
    ----------
    given : list of str, or int
        Names, or the number of classes: these are named c1, c2, ...
    where : str
        Config key or file, for the error.

    Raises
    ------
    ConfigError
        Fewer than two names, or invalid names; all problems are listed.
    """
    if isinstance(given, int) and not isinstance(given, bool):
        names = tuple(f"c{number}" for number in range(1, min(given, MAX_CLASSES + 1) + 1))
    elif isinstance(given, (list, tuple)):
        names = tuple(str(name) for name in given)
    else:
        names = (str(given),)
    if problems := _name_problems(names):
        raise ConfigError(
            where,
            problems,
            "Give names in the order of the values 1, 2, ...: classes=[nucleus,spindle]. Or give "
            "the number of classes: classes=2.",
        )
    return names


def describe_classes(names: Sequence[str]) -> str:
    """Return a text that lists the value of each class.

    >>> describe_classes(["nucleus", "spindle"])
    '1 = nucleus, 2 = spindle'
    """
    return ", ".join(f"{value} = {name}" for value, name in enumerate(names, 1))


def class_image(probabilities: Sequence[np.ndarray], thresholds: Sequence[float]) -> np.ndarray:
    """Return the class of each voxel: the most probable class above its threshold, else 0.

    Parameters
    ----------
    probabilities : sequence of ndarray
        ([Z,] Y, X) of each class, all in the same unit and dtype.
    thresholds : sequence of float
        One for each class, in the same unit.

    Returns
    -------
    ndarray of uint8
        ([Z,] Y, X). Of equally probable classes, the first.
    """
    classes = np.zeros(probabilities[0].shape, np.uint8)
    best = np.zeros(probabilities[0].shape, probabilities[0].dtype)
    for value, (probability, cut) in enumerate(zip(probabilities, thresholds, strict=True), 1):
        better = (probability > cut) & (probability > best)
        classes[better] = value
        best[better] = probability[better]
    return classes


def _name_problems(names: Sequence[str]) -> list[str]:
    """Return what is wrong with class names."""
    problems = [
        f"{name[:60]!r} is not a valid name: a letter, then letters, digits or _, at most 40"
        for name in names
        if not re.fullmatch(_NAME, name)
    ]
    lower = [name.lower() for name in names]
    twice = {name for name in names if lower.count(name.lower()) > 1}
    problems += [f"{name!r} is given twice" for name in sorted(twice)]
    if len(names) < 2:
        problems.append(f"{len(names)} class(es), expected 2 or more; for one, use model=unet")
    if len(names) > MAX_CLASSES:
        problems.append(f"more than {MAX_CLASSES} classes")
    return problems
