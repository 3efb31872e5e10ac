"""Filters of the preparation: named steps on grey levels, before normalisation.

Each filter acts on a part of an image with a margin, and needs at most a few numbers of the whole
image. A part therefore gets the values that the whole image gives it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from scipy import ndimage

from cytoloop.bounds import Bounds
from cytoloop.intensity.sample import GreyLevels
from cytoloop.io.voxel_size import Spacing

_TRUNCATE = 3.0
"""Radius of Gaussian filters in sigma."""
_MIN_CONTRAST = 0.1
"""`LocalContrast` divides by at least this part of the image's standard deviation: in regions
without structure, noise would become as large as objects."""
_UM = "_um"
VERSION = 1
"""Increase when a filter computes other values: cached images are not reused."""


@dataclass(frozen=True)
class Filter:
    """A named step with its values.

    Attributes
    ----------
    values : mapping
        All values of the step, see `parse_filter`.
    LENGTH : str
        The value that is a length: in voxels, or with ``_um`` appended in um. One number for all
        axes or one for each axis, [y,x] or [z,y,x]; 0 leaves an axis as it is.
    MAX_VOXELS : float
        Largest length in voxels.
    NUMBERS : mapping
        Other numbers: default and bounds.
    CHOICES : mapping
        Values that are one of several words, the first is the default.
    MEASURES : bool
        `measure` returns numbers of the whole image, which `apply` needs.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    LENGTH: ClassVar[str] = ""
    MAX_VOXELS: ClassVar[float] = 500
    NUMBERS: ClassVar[Mapping[str, tuple[float, Bounds]]] = {}
    CHOICES: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    MEASURES: ClassVar[bool] = False

    @property
    def in_um(self) -> bool:
        """Whether the length is in um, so that images need a voxel size."""
        return f"{self.LENGTH}{_UM}" in self.values

    def lengths(self, spacing_um: Spacing | None, ndim: int) -> tuple[float, ...]:
        """Return the length along each axis ([Z,] Y, X) in voxels.

        Parameters
        ----------
        spacing_um : tuple of float or None
            Voxel size (Z, Y, X); not None if the length is in um.
        ndim : int
            2 or 3.
        """
        if not self.LENGTH:
            return (0.0,) * ndim
        given = self.values.get(self.LENGTH, self.values.get(f"{self.LENGTH}{_UM}"))
        sides = list(given) if isinstance(given, Sequence) else [given] * 3
        sides = [0, *sides][-3:][-ndim:]
        steps = spacing_um[-ndim:] if self.in_um and spacing_um is not None else [1.0] * ndim
        return tuple(float(side) / step for side, step in zip(sides, steps, strict=True))

    def margin(self, lengths: Sequence[float]) -> tuple[int, ...]:
        """Return how many voxels around a part decide its values, along each axis."""
        return tuple(int(_TRUNCATE * side + 0.5) for side in lengths)

    def measure(self, levels: GreyLevels) -> np.ndarray:
        """Return numbers of the whole image, (C, N) float64."""
        return np.empty((len(levels.sample), 0))

    def apply(self, data: np.ndarray, lengths: Sequence[float], measured: np.ndarray) -> np.ndarray:
        """Return the filtered part of an image.

        Parameters
        ----------
        data : ndarray of float32
            (C, [Z,] Y, X), finite, with the margin.
        lengths : sequence of float
            See `lengths`.
        measured : ndarray
            See `measure`.

        Returns
        -------
        ndarray
            Same shape. Voxels in the margin have no meaning.
        """
        raise NotImplementedError


class Clip(Filter):
    """Cut grey levels off below one percentile of the image and above another."""

    NUMBERS: ClassVar[Mapping[str, tuple[float, Bounds]]] = {
        "lower": (0.0, Bounds("lower", 0, 100, whole=False)),
        "upper": (99.9, Bounds("upper", 0, 100, whole=False)),
    }
    MEASURES = True

    def measure(self, levels: GreyLevels) -> np.ndarray:
        """Return both percentiles, (C, 2)."""
        percentiles = [self.values["lower"], self.values["upper"]]
        return np.nanpercentile(levels.sample.astype(np.float32), percentiles, axis=1).T

    def apply(self, data: np.ndarray, lengths: Sequence[float], measured: np.ndarray) -> np.ndarray:
        """Return the grey levels within both percentiles."""
        low, high = (_per_channel(column, data.ndim) for column in measured.T)
        return np.clip(data, low, high)


class Background(Filter):
    """Subtract the background.

    ``top_hat``: the opening by a box of 2 radius + 1 voxels, the highest level that such a box
    reaches everywhere below the grey levels. Objects that are narrower than the box stay.
    ``gaussian``: a Gaussian mean with sigma = radius; objects become darker than they are.
    """

    LENGTH = "radius"
    CHOICES: ClassVar[Mapping[str, tuple[str, ...]]] = {"method": ("top_hat", "gaussian")}

    def margin(self, lengths: Sequence[float]) -> tuple[int, ...]:
        """Return the margin; of the opening, that of its two filters."""
        if self.values["method"] == "gaussian":
            return super().margin(lengths)
        return tuple(2 * round(side) for side in lengths)

    def apply(self, data: np.ndarray, lengths: Sequence[float], measured: np.ndarray) -> np.ndarray:
        """Return grey levels above the background."""
        if self.values["method"] == "gaussian":
            return data - ndimage.gaussian_filter(data, (0, *lengths), truncate=_TRUNCATE)
        sides = (1, *(2 * round(side) + 1 for side in lengths))
        return data - ndimage.maximum_filter(ndimage.minimum_filter(data, sides), sides)


class Gaussian(Filter):
    """Smooth by a Gaussian filter."""

    LENGTH = "sigma"
    MAX_VOXELS = 100

    def apply(self, data: np.ndarray, lengths: Sequence[float], measured: np.ndarray) -> np.ndarray:
        """Return the smoothed grey levels."""
        return ndimage.gaussian_filter(data, (0, *lengths), truncate=_TRUNCATE)


class Median(Filter):
    """Smooth by the median in a box of 2 radius + 1 voxels."""

    LENGTH = "radius"
    MAX_VOXELS = 10

    def margin(self, lengths: Sequence[float]) -> tuple[int, ...]:
        """Return the radius in whole voxels."""
        return tuple(round(side) for side in lengths)

    def apply(self, data: np.ndarray, lengths: Sequence[float], measured: np.ndarray) -> np.ndarray:
        """Return the medians."""
        return ndimage.median_filter(data, (1, *(2 * round(side) + 1 for side in lengths)))


class LocalContrast(Filter):
    """Subtract the local mean and divide by the local standard deviation.

    Both are Gaussian means with sigma = radius.
    """

    LENGTH = "radius"
    MEASURES = True

    def measure(self, levels: GreyLevels) -> np.ndarray:
        """Return mean and standard deviation of the image, (C, 2)."""
        sample = levels.sample.astype(np.float64)
        return np.stack([np.nanmean(sample, axis=1), np.nanstd(sample, axis=1)], axis=1)

    def apply(self, data: np.ndarray, lengths: Sequence[float], measured: np.ndarray) -> np.ndarray:
        """Return the grey levels in units of the local contrast."""
        mean, deviation = (_per_channel(column, data.ndim) for column in measured.T)
        centred = data - mean  # float64, and small numbers: the squares keep their digits
        local = ndimage.gaussian_filter(centred, (0, *lengths), truncate=_TRUNCATE)
        squares = ndimage.gaussian_filter(centred**2, (0, *lengths), truncate=_TRUNCATE)
        spread = np.sqrt(np.maximum(squares - local**2, 0))
        least = np.where(deviation > 0, _MIN_CONTRAST * deviation, 1)
        return (centred - local) / np.maximum(spread, least)


FILTERS: Mapping[str, type[Filter]] = {
    "clip": Clip,
    "background": Background,
    "gaussian": Gaussian,
    "median": Median,
    "local_contrast": LocalContrast,
}


def parse_filter(step: Any) -> tuple[dict[str, dict[str, Any]], list[tuple[str, str]]]:
    """Return a named step with all its values, and what is wrong with it.

    Parameters
    ----------
    step : str or mapping
        ``clip``, or ``{clip: {upper: 99.5}}``. A value that is missing gets its default.

    Returns
    -------
    step : dict
        ``{name: values}``.
    faults : list of (str, str)
        Key below the step, and its fault; empty for a valid step.
    """
    names = list(step) if isinstance(step, Mapping) else [step]
    name = names[0] if len(names) == 1 else None
    if not isinstance(name, str) or name not in FILTERS:
        found = repr(step if name is None else name)[:60]
        return {}, [("", f"is {found}, expected one of {', '.join(FILTERS)}; or a _target_")]
    kind = FILTERS[name]
    given = (step[name] if isinstance(step, Mapping) else None) or {}
    lengths = (kind.LENGTH, f"{kind.LENGTH}{_UM}") if kind.LENGTH else ()
    known = (*lengths, *kind.NUMBERS, *kind.CHOICES)
    if not isinstance(given, Mapping):
        return {}, [(name, f"is {given!r}, expected {{{', '.join(known)}}}"[:120])]
    faults = [
        (f"{name}.{key}", f"is not known, expected {', '.join(known)}")
        for key in given
        if key not in known
    ]
    values: dict[str, Any] = {key: given[key] for key in lengths if given.get(key) is not None}
    if lengths and len(values) != 1:
        found = "both are given" if values else "neither is given"
        faults.append((name, f"needs {lengths[0]} in voxels or {lengths[1]}; {found}"))
    faults += [
        (f"{name}.{key}", fault)
        for key, value in values.items()
        if (fault := _length_fault(value, None if key.endswith(_UM) else kind.MAX_VOXELS))
    ]
    for key, (default, bounds) in kind.NUMBERS.items():
        values[key] = given.get(key, default)
        if (fault := bounds.fault(values[key])) is not None:
            faults.append((f"{name}.{key}", fault))
    for key, words in kind.CHOICES.items():
        values[key] = given.get(key, words[0])
        if values[key] not in words:
            faults.append((f"{name}.{key}", f"is {values[key]!r}, expected {', '.join(words)}"))
    if kind is Clip and not faults and not values["lower"] < values["upper"]:
        faults.append((f"{name}.upper", f"is {values['upper']}, not above {values['lower']}"))
    return {name: values}, faults


def build_filter(step: Mapping[str, Mapping[str, Any]]) -> Filter:
    """Return the filter of a valid step."""
    ((name, values),) = step.items()
    return FILTERS[name](values)


def _length_fault(value: Any, most: float | None) -> str | None:
    """Return what is wrong with a length: a number for all axes, or a list of 2 or 3."""
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    if is_list and len(value) not in (2, 3):
        return f"is {value!r}, expected [z,y,x] or [y,x]"[:120]
    bounds = Bounds("", 0, 1e6 if most is None else most, whole=False)
    sides = list(value) if is_list else [value]
    for side in sides:
        if (fault := bounds.fault(side)) is not None:
            return fault
    return None if any(side > 0 for side in sides) else "is 0, expected a length above 0"


def _per_channel(column: np.ndarray, ndim: int) -> np.ndarray:
    return column.reshape(-1, *[1] * (ndim - 1))
