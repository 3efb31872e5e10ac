"""Axes, sizes and voxel size of a package's image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cytoloop.io.units import unit_in_um

_LETTERS = {"batch": "b", "channel": "c"}
_WANTED_SIDE = {2: 256, 3: 64}
"""Side of a window where the package leaves it open and has no test image."""


@dataclass(frozen=True)
class ImageLayout:
    """The image that a package takes.

    Attributes
    ----------
    axes : str
        Letters of ``bczyx`` in the package's order.
    dims : int
        2 or 3.
    channels : int
    channel_names : list of str
        Empty where the description has placeholders only.
    window : list of int
        [Z,] Y, X.
    multiples : list of int or None
        What the sides must be multiples of; None: only `window` is taken.
    single : bool
        One image at a time.
    spacing_um : list of float or None
        Voxel size (Z, Y, X).
    """

    axes: str
    dims: int
    channels: int
    channel_names: list[str]
    window: list[int]
    multiples: list[int] | None
    single: bool
    spacing_um: list[float] | None


def read_layout(tensor: Any, test_shape: Sequence[int] | None) -> tuple[ImageLayout, list[str]]:
    """Return the layout of an input tensor, and what in it cannot be honoured.

    Parameters
    ----------
    tensor : InputTensorDescr
    test_shape : sequence of int, optional
        Of the test input.
    """
    axes, problems = axis_letters(tensor)
    by_letter = dict(zip(axes, tensor.axes, strict=True))
    spatial = [letter for letter in "zyx" if letter in by_letter]
    if not {"x", "y"} <= set(spatial):
        problems.append(f"the image has the axes {axes!r}, expected y and x, with or without z")
    test = dict(zip(axes, test_shape or (), strict=False))
    channel = by_letter.get("c")
    names = [str(name) for name in channel.channel_names] if channel else []
    window, multiples = [], []
    for letter in spatial:
        side, multiple, fault = _side(by_letter[letter].size, test.get(letter), len(spatial))
        window.append(side)
        multiples.append(multiple)
        problems += [f"axis {letter}: {fault}"] if fault else []
    batch = by_letter.get("b")
    return (
        ImageLayout(
            axes=axes,
            dims=len(spatial),
            channels=len(names) or 1,
            channel_names=[] if _are_placeholders(names) else names,
            window=window,
            multiples=[m for m in multiples if m] if all(multiples) else None,
            single=batch is None or batch.size == 1 or test.get("b", 2) == 1,
            spacing_um=_spacing(by_letter),
        ),
        problems,
    )


def axis_letters(tensor: Any) -> tuple[str, list[str]]:
    """Return the axes of a tensor as letters, and the axes that cannot be honoured."""
    letters, problems = "", []
    for axis in tensor.axes:
        letter = _LETTERS.get(axis.type, str(axis.id) if axis.type == "space" else "?")
        if letter not in tuple("bczyx"):
            problems.append(f"{tensor.id}: has an axis {axis.id} ({axis.type})")
            letter = "?"
        letters += letter
    if len(set(letters)) != len(letters):
        problems.append(f"{tensor.id}: has the axes {letters!r}, some of them twice")
    return letters, problems


def read_halo(tensor: Any, axes: str, dims: int) -> list[int]:
    """Return the voxels at each side of an output that are not valid, [Z,] Y, X."""
    found = {
        letter: int(getattr(axis, "halo", 0) or 0)
        for letter, axis in zip(axes, tensor.axes, strict=True)
    }
    return [found.get(letter, 0) for letter in "zyx"[-dims:]]


def _side(size: Any, test: int | None, dims: int) -> tuple[int, int | None, str]:
    """Return the side of a window, what it must be a multiple of or None, and a fault."""
    if isinstance(size, int):
        return size, None, ""
    low, step = getattr(size, "min", None), getattr(size, "step", None)
    if low is None or step is None:  # refers to another axis
        return test or 0, None, "" if test else "its size refers to another axis"
    if test and test >= low and (test - low) % step == 0:
        side = test
    else:
        side = low + max(math.ceil((_WANTED_SIDE[dims] - low) / step), 0) * step
    return side, step if low % step == 0 else None, ""


def _are_placeholders(names: Sequence[str]) -> bool:
    """Return whether names of channels are only numbered, as conversions write them."""
    return all(name.lower().startswith("channel") and name[7:].isdigit() for name in names)


def _spacing(by_letter: Mapping[str, Any]) -> list[float] | None:
    """Return the voxel size (Z, Y, X) in um, None where the description states none."""
    sizes: list[float] = []
    for letter in "zyx":
        axis = by_letter.get(letter)
        if axis is None:
            sizes.append(1.0)
            continue
        if axis.unit is None:
            return None
        size = float(axis.scale) * (unit_in_um(axis.unit) or 0.0)
        if not 0 < size < math.inf:
            return None
        sizes.append(size)
    return sizes
