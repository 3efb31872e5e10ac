"""Filtered images, read box by box: a box holds the values of the whole filtered image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cytoloop.errors import ImageError
from cytoloop.intensity.filters import Filter
from cytoloop.intensity.sample import sample_grey_levels
from cytoloop.io.pixels import MemoryPixels, Pixels, read_whole

IN_MEMORY_VALUES = 2**26
"""Largest filtered image that is held in memory; a larger one is filtered while it is read."""

Measured = list[np.ndarray]
"""For each filter, the lowest level and its other numbers of the whole image, (C, 1 + N)."""


class FilteredPixels(Pixels):
    """An image behind one filter.

    NaN and infinite values take the lowest level of their channel before they are filtered.

    Parameters
    ----------
    name : str
        Of the image, for messages.
    pixels : Pixels
    step : Filter
    measured : ndarray, optional
        (C, 1 + N), from another `FilteredPixels` of the same image; None: the image is measured.

    Raises
    ------
    ImageError
        The filter needs the voxel size, and it is unknown; a length in um is too many voxels; or
        the image holds no number.
    """

    def __init__(
        self, name: str, pixels: Pixels, step: Filter, measured: np.ndarray | None = None
    ) -> None:
        if step.in_um and pixels.spacing_um is None:
            raise ImageError(
                name,
                "its voxel size is unknown, but the preparation has a length in um",
                "State spacing_um, or lengths in voxels (radius, sigma) in training.",
            )
        self._pixels, self._step = pixels, step
        self.shape, self.channels = pixels.shape, pixels.channels
        self.dtype = np.dtype(np.float32)
        self.spacing_um, self.origin_um = pixels.spacing_um, pixels.origin_um
        self._lengths = step.lengths(pixels.spacing_um, len(pixels.shape))
        if max(self._lengths) > step.MAX_VOXELS:
            raise ImageError(
                name,
                f"a length of the preparation is {max(self._lengths):.0f} voxels of this image, "
                f"expected at most {step.MAX_VOXELS:g}",
                "Check its voxel size, or train with a smaller length or larger voxels "
                "(data.resample).",
            )
        self._margin = step.margin(self._lengths)
        if measured is None:
            measured = np.zeros((len(pixels.channels), 1))
            if step.MEASURES or pixels.dtype.kind == "f":
                levels = sample_grey_levels(name, pixels)
                measured = np.column_stack([levels.lowest, step.measure(levels)])
                measured[:, 0][~np.isfinite(measured[:, 0])] = 0  # a channel without any number
        self.measured = measured

    def read(self, box: tuple[slice, ...]) -> np.ndarray:
        """Return the filtered pixels of a box, (C, *box) float32."""
        window = tuple(
            slice(max(side.start - more, 0), min(side.stop + more, length))
            for side, more, length in zip(box, self._margin, self.shape, strict=True)
        )
        data = self._pixels.read(window).astype(np.float32)
        lowest = self.measured[:, :1].reshape(-1, *[1] * len(self.shape))
        data = np.where(np.isfinite(data), data, lowest.astype(np.float32))
        done = self._step.apply(data, self._lengths, self.measured[:, 1:])
        inner = tuple(
            slice(side.start - outer.start, side.stop - outer.start)
            for side, outer in zip(box, window, strict=True)
        )
        return done[(slice(None), *inner)].astype(np.float32)


def filter_pixels(
    name: str,
    pixels: Pixels,
    filters: Sequence[Filter],
    measured: Sequence[np.ndarray] | None = None,
    in_memory: int = IN_MEMORY_VALUES,
) -> tuple[Pixels, Measured]:
    """Return an image behind filters, and what was measured of the whole image for them.

    Parameters
    ----------
    name : str
        Of the image, for messages.
    pixels : Pixels
    filters : sequence of Filter
        In their order.
    measured : sequence of ndarray, optional
        As returned for the same image: nothing is measured again, and boxes are filtered on
        demand.
    in_memory : int
        An image of at most so many values is filtered at once.

    Raises
    ------
    ImageError
        See `FilteredPixels`.
    """
    whole = measured is None and math.prod(pixels.shape) * len(pixels.channels) <= in_memory
    found: Measured = []
    for number, step in enumerate(filters):
        one = FilteredPixels(name, pixels, step, None if measured is None else measured[number])
        found.append(one.measured)
        pixels = one
        if whole:
            pixels = MemoryPixels(read_whole(one), one.spacing_um, one.channels, one.origin_um)
    return pixels, found
