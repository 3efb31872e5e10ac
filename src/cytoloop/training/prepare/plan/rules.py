"""The rules of a plan as functions of numbers: levels, strides, kernels, patch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from cytoloop.training.prepare.bounds import LAYERS

BOTTOM = 4
"""Minimum voxels of a patch along an axis after the last stride (nnU-Net)."""
_SAME_SPACING = 2.0
"""Axes are halved together if their spacings differ by less than this factor (nnU-Net)."""
_ANISOTROPIC = 3.0
"""A kernel has size 1 along an axis that is coarser by this factor (nnU-Net's anisotropy)."""
CONTEXT = (1.5, 3.2)
"""Smallest and largest side of a patch, in units of a large object (95th percentile). The smallest
shows a large object whole, the largest shows its neighbours as well."""


def choose_layers(extents: Sequence[float]) -> int:
    """Return the number of levels with which a large object is about 4 voxels wide at the lowest.

    With one more it would be smaller than a kernel; with fewer no kernel would see it whole.

    Parameters
    ----------
    extents : sequence of float
        95th percentile along each axis, in voxels of the finest axis.
    """
    halvings = round(math.log2(max(max(extents, default=1.0), 1.0) / 4))
    return min(max(1 + halvings, 3), LAYERS[1])


def choose_strides(
    spacing: Sequence[float],
    sizes: Sequence[int],
    layers: int,
    typed: Sequence[int | None] = (),
) -> tuple[list[list[int]], list[list[int]]]:
    """Return the strides and kernels of each level and axis.

    After nnU-Net (Isensee et al. 2021, `get_pool_and_conv_props`). An axis is halved while its
    spacing is less than twice that of the finest axis that can be halved, and while at least 4
    voxels remain. A side of the patch that the user has typed is halved as often as it can be
    divided by 2, if it is a multiple of 4 (the rule of the Segmenter ML plugin). A kernel has size
    1 along an axis that is at least three times as coarse as the finest (nnU-Net: twice), and size
    3 from the first level at which the axis is less coarse.

    Parameters
    ----------
    spacing : sequence of float
        [Z,] Y, X, in any unit.
    sizes : sequence of int
        Size of the largest possible patch, in voxels.
    layers : int
        Wanted levels; fewer are returned if the patch is too small.
    typed : sequence of int or None
        Sides of the patch that are not left to the plan.
    """
    spacing, sizes = list(spacing), list(sizes)
    left = [_halvings(side) for side in typed or [None] * len(sizes)]
    strides = [[1] * len(spacing)]
    kernels = [_kernel(spacing, [1] * len(spacing))]
    while len(strides) < layers:
        large = [i for i, size in enumerate(sizes) if size >= 2 * BOTTOM and left[i] > 0]
        finest = min((spacing[i] for i in large), default=0.0)
        halved = [i for i in large if spacing[i] < _SAME_SPACING * finest * (1 - 1e-6)]
        if not halved:
            break
        strides.append([2 if i in halved else 1 for i in range(len(spacing))])
        for i in halved:
            spacing[i] *= 2
            sizes[i] //= 2
            left[i] -= 1
        kernels.append(_kernel(spacing, kernels[-1]))
    return strides, kernels


def _halvings(side: int | None) -> float:
    """Return how often a typed side may be halved; 2 if it is no multiple of 4.

    >>> _halvings(60), _halvings(64), _halvings(50)
    (2, 6, 2)
    """
    if side is None:
        return math.inf
    return 2 if side % 4 else (side & -side).bit_length() - 1


def _kernel(spacing: Sequence[float], before: Sequence[int]) -> list[int]:
    finest = min(spacing)
    near = [s < _ANISOTROPIC * finest * (1 - 1e-6) for s in spacing]
    return [3 if n or k == 3 else 1 for n, k in zip(near, before, strict=True)]


def multiples_of(strides: Sequence[int | Sequence[int]], dims: int) -> list[int]:
    """Return the number that each side of a patch must be a multiple of: the strides' product."""
    product = [1] * dims
    for stride in strides:
        each = [stride] * dims if isinstance(stride, int) else list(stride)
        product = [one * int(step) for one, step in zip(product, each, strict=True)]
    return product


def choose_patch(
    spacing: Sequence[float],
    largest: Sequence[int],
    extents: Sequence[float],
    multiples: Sequence[int],
    typed: Sequence[int | None],
    fits: Callable[[Sequence[int]], bool],
) -> list[int]:
    """Return the largest patch that fits, with sides of about the same length in um.

    As in nnU-Net, a patch has as much context as a step can carry, and its shape follows the voxel
    size. Unlike there it is never larger than the smallest image or than 3.2 large objects. It is
    never smaller than 1.5 large objects, or than four voxels at the lowest level, if the images
    are that large.

    Parameters
    ----------
    spacing : sequence of float
        [Z,] Y, X.
    largest : sequence of int
        Size of the smallest image, voxels.
    extents : sequence of float
        Extents of a large object (95th percentile), voxels; empty without objects.
    multiples : sequence of int
    typed : sequence of int or None
        Sides that the user chose.
    fits : callable
        Returns whether a step with this patch is within the budget.
    """
    whole = [max(size // step, 1) * step for size, step in zip(largest, multiples, strict=True)]

    def holding(times: float) -> list[int]:
        sides = [math.ceil(times * e / m) * m for e, m in zip(extents, multiples, strict=True)]
        return [min(side, limit) for side, limit in zip(sides, whole, strict=True)]

    deep = [BOTTOM * step if step > 1 else 1 for step in multiples]
    floor, most = (holding(t) for t in CONTEXT) if extents else (deep, whole)
    floor = [min(max(pair), limit) for *pair, limit in zip(floor, deep, whole, strict=True)]
    most = [max(pair) for pair in zip(floor, most, strict=True)]

    def sized(edge: float) -> list[int]:
        sides = [int(edge / s) // m * m for s, m in zip(spacing, multiples, strict=True)]
        within = [min(max(n, f), m) for n, f, m in zip(sides, floor, most, strict=True)]
        return [t or n for t, n in zip(typed, within, strict=True)]

    steps = zip(spacing, multiples, most, strict=True)
    edges = sorted({k * m * s for s, m, limit in steps for k in range(1, 1 + limit // m)})
    patch = sized(0)
    for edge in edges:
        larger = sized(edge * (1 + 1e-6))
        if not fits(larger):
            break
        patch = larger
    # use what is left for Y and X together
    plane = [
        n + m if t is None and i >= len(patch) - 2 else n
        for i, (n, m, t) in enumerate(zip(patch, multiples, typed, strict=True))
    ]
    if all(n <= m for n, m in zip(plane, most, strict=True)) and fits(plane):
        return plane
    return patch
