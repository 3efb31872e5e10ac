"""Checks of ``data.patch_size`` against the images and the network.

Its bounds stand in `cytoloop.data.settings`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cytoloop.bounds import AUTO
from cytoloop.errors import ConfigError

KEY = "data.patch_size"


def sides_of(patch: Any, dims: int) -> list[int | None]:
    """Return the sides that a config states, [Z,] Y, X; None where the plan chooses.

    Raises
    ------
    ConfigError
        The patch has another number of axes than the images.
    """
    if isinstance(patch, Sequence) and not isinstance(patch, str):
        _check_axes(patch, dims)
        return [None if side == AUTO else side for side in patch]
    side = None if patch in (None, AUTO) else patch
    depth: list[int | None] = [None] * (dims - 2)
    return depth + [side] * 2


def check_patch_size(
    patch: Sequence[int], multiples: Sequence[int], shapes: Mapping[str, Sequence[int]]
) -> None:
    """Refuse a patch that does not fit the images or the strides of the network.

    Parameters
    ----------
    patch : sequence of int
        [Z,] Y, X.
    multiples : sequence of int
        Each side must be a multiple of its number.
    shapes : mapping of str to sequence of int
        Size of each image, [Z,] Y, X, by name.

    Raises
    ------
    ConfigError
        All faults at once, each with the nearest sizes that fit.
    """
    dims = len(next(iter(shapes.values())))
    _check_axes(patch, dims)
    smallest = [min(shape[i] for shape in shapes.values()) for i in range(dims)]
    problems = []
    for i, (axis, size, step) in enumerate(zip("ZYX"[-dims:], patch, multiples, strict=True)):
        fits = smallest[i] // step * step
        if size % step or size < 1:
            below, above = size // step * step, (size // step + 1) * step
            valid = [str(n) for n in (below, above) if 0 < n <= fits] or [str(fits)]
            problems.append(
                f"{axis} = {size} is not divisible by {step}, which the network's strides need; "
                f"nearest: {' or '.join(valid)}"
            )
        elif size > smallest[i]:
            name = next(n for n, shape in shapes.items() if shape[i] == smallest[i])
            problems.append(
                f"{axis} = {size} is larger than the smallest image ({name}: {smallest[i]}); "
                f"largest that fits: {fits}"
            )
    if problems:
        raise ConfigError(KEY, problems, f"Set {KEY}=[...] accordingly.")


def _check_axes(patch: Sequence[Any], dims: int) -> None:
    if len(patch) != dims:
        raise ConfigError(
            KEY,
            f"{list(patch)} has {len(patch)} numbers but the images are {dims}D",
            f"Give one number for each axis: [{', '.join('ZYX'[-dims:])}].",
        )
