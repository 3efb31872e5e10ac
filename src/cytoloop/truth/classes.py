"""Semantic classes: truth images whose values say what a voxel is, and how a class is decided.

Value 0 is background, 1 the first class, and so on. A network has one head for each class,
``class_NAME`` in the order of the values: that list is all that a checkpoint says of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from cytoloop.errors import ConfigError

CLASS_PREFIX = "class_"
"""Of a head: no class, whatever its name, is taken for another kind of head."""
MOST = 255
"""Classes of an image of uint8."""
_NAME = r"[A-Za-z][A-Za-z0-9_]{0,39}"  # in columns of tables, metrics, names of files


def class_heads(names: Sequence[str]) -> list[str]:
    """Return the heads of classes.

    >>> class_heads(["nucleus", "spindle"])
    ['class_nucleus', 'class_spindle']
    """
    return [f"{CLASS_PREFIX}{name}" for name in names]


def class_names(heads: Any) -> tuple[str, ...]:
    """Return the classes that a network tells apart; empty where its heads are others.

    >>> class_names(["class_nucleus", "class_spindle"]), class_names(["foreground"])
    (('nucleus', 'spindle'), ())

    Parameters
    ----------
    heads : list of str
        Of a config, or of a checkpoint of any origin: what is no list of classes gives none.
    """
    if not isinstance(heads, (list, tuple)):
        return ()
    names = tuple(str(head).removeprefix(CLASS_PREFIX) for head in heads)
    if [str(head) for head in heads] != class_heads(names) or _faults(names):
        return ()
    return names


def parse_class_names(given: Any, where: str = "classes") -> tuple[str, ...]:
    """Return the names of classes that a user has given, in the order of their values.

    Parameters
    ----------
    given : list of str or int
        Names, or how many there are: those are named c1, c2, ...
    where : str
        For messages.

    Raises
    ------
    ConfigError
        Fewer than two, or names that cannot be; all of them.
    """
    if isinstance(given, int) and not isinstance(given, bool):
        names = tuple(f"c{number}" for number in range(1, min(given, MOST + 1) + 1))
    elif isinstance(given, (list, tuple)):
        names = tuple(str(one) for one in given)
    else:
        names = (str(given),)
    if problems := _faults(names):
        raise ConfigError(
            where,
            problems,
            "Give names in the order of the values 1, 2, ...: classes=[nucleus,spindle]; or their "
            "number: classes=2.",
        )
    return names


def describe_classes(names: Sequence[str]) -> str:
    """Return which value is which class.

    >>> describe_classes(["nucleus", "spindle"])
    '1 = nucleus, 2 = spindle'
    """
    return ", ".join(f"{value} = {name}" for value, name in enumerate(names, 1))


def class_image(probabilities: Sequence[np.ndarray], cuts: Sequence[float]) -> np.ndarray:
    """Return the class of each voxel: the most probable of those above their threshold, else 0.

    Parameters
    ----------
    probabilities : sequence of ndarray
        ([Z,] Y, X) of each class, in one unit and dtype.
    cuts : sequence of float
        Thresholds, in that unit.

    Returns
    -------
    ndarray of uint8
        ([Z,] Y, X); of equal ones the first class.
    """
    found = np.zeros(probabilities[0].shape, np.uint8)
    best = np.zeros(probabilities[0].shape, probabilities[0].dtype)
    for value, (one, cut) in enumerate(zip(probabilities, cuts, strict=True), 1):
        better = (one > cut) & (one > best)
        found[better] = value
        best[better] = one[better]
    return found


def _faults(names: Sequence[str]) -> list[str]:
    """Return what is wrong with the names of classes."""
    faults = [
        f"{name[:60]!r} is no name: letters, digits and _, a letter first, 40 at most"
        for name in names
        if not re.fullmatch(_NAME, name)
    ]
    twice = {name for name in names if [n.lower() for n in names].count(name.lower()) > 1}
    faults += [f"{name!r} is there twice" for name in sorted(twice)]
    if len(names) < 2:
        faults.append(f"{len(names)} class(es); one kind of structure is model=unet")
    if len(names) > MOST:
        faults.append(f"more than {MOST} classes")
    return faults
