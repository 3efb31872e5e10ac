"""What every reader returns: one scene of a file, and its pixels in the order T, C, Z, Y, X."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cytoloop.errors import ImageError
from cytoloop.io.axes import name_axes
from cytoloop.io.memory import free_memory
from cytoloop.io.voxel_size import Spacing, StatedSize, decide_origin, decide_spacing

MEMORY_FRACTION = 0.9
"""Pixels that need more than this part of the free memory are not read."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One scene at one pyramid level, as the file states it.

    Attributes
    ----------
    array : array-like
        Pixels with ``shape``, ``dtype`` and ``array[slices]``; in memory or in the file.
    axes : str
        A letter for each axis, see `cytoloop.io.axes`.
    channels : sequence of str
        Names of the channels; empty if the file names none.
    sizes, origin : mapping
        Axis to the stated length and its unit.
    white : int or None
        The value that stands for 0, in an image whose zeros are white.
    is_signed : bool
        Whether int16 is stored as uint16 plus 32768.
    mirrored : str
        Axes that the file stores in reverse.
    colours : int or None
        Samples that are colours; further samples are transparency, which is left out.
    read_all : callable or None
        Reads all pixels faster than ``array[:]``.
    cautions : tuple of str
        Warnings for an image of intensities; labels are read as they are.
    """

    array: Any
    axes: str
    channels: Sequence[str] = ()
    sizes: Mapping[str, StatedSize] = field(default_factory=dict)
    origin: Mapping[str, StatedSize] = field(default_factory=dict)
    white: int | None = None
    is_signed: bool = False
    mirrored: str = ""
    colours: int | None = None
    read_all: Callable[[], np.ndarray] | None = None
    cautions: tuple[str, ...] = ()


class ImageReader(Protocol):
    """A reader of one format: ``Reader(path)``.

    Attributes
    ----------
    scenes : tuple of str
        Names of the scenes.
    """

    scenes: tuple[str, ...]

    def count_levels(self, scene: int) -> int:
        """Return the number of pyramid levels of a scene, at least 1."""

    def open(self, scene: int, level: int) -> Scene:
        """Return a scene at a pyramid level, without reading its pixels."""

    def close(self) -> None:
        """Close the file; its scenes cannot be read any more."""


class OpenScene:
    """The pixels of a scene with the axes T, C, Z, Y, X, read box by box.

    Parameters
    ----------
    path : str or Path
        For errors.
    scene : Scene
    requested_axes : str, optional
        The axes as the user states them.
    plane : int, optional
        Plane of a stack, from 0: the scene then has this plane only.

    Attributes
    ----------
    shape : tuple of int
        (T, C, Z, Y, X).
    dtype : numpy.dtype
    channels : tuple of str
        A name for each channel; its number if the file names none.
    spacing_um, origin_um : tuple of float or None
        See `cytoloop.io.voxel_size`.
    """

    def __init__(
        self,
        path: str | Path,
        scene: Scene,
        requested_axes: str | None = None,
        plane: int | None = None,
    ) -> None:
        self._path, self._scene = path, scene
        native = tuple(int(n) for n in scene.array.shape)
        axes = name_axes(path, native, scene.axes, requested_axes)
        if scene.colours:
            native = tuple(
                min(n, scene.colours) if axis == "S" else n
                for axis, n in zip(axes, native, strict=True)
            )
        self._native = native
        self._mirrored = {i for i, axis in enumerate(scene.axes) if axis in scene.mirrored}
        self._positions = {
            group: [i for i, axis in enumerate(axes) if axis in group]
            for group in ("T", "CS", "Z", "Y", "X")
        }
        t, c, z, y, x = (
            math.prod(native[i] for i in positions) for positions in self._positions.values()
        )
        self._first_plane = _plane_number(path, plane, z)
        self._is_cut = plane is not None and z > 1
        self.shape: tuple[int, int, int, int, int] = (t, c, z if plane is None else 1, y, x)
        if not all(self.shape):
            raise ImageError(
                str(path), f"has no pixels: {self._native} ({scene.axes})", "Export it again."
            )
        self.dtype = np.dtype(np.int16 if scene.is_signed else scene.array.dtype)
        if self.dtype.kind not in "biuf":
            raise ImageError(
                str(path),
                f"holds {self.dtype}, expected whole numbers or floats",
                "Save its real part, magnitude or phase as floats.",
            )
        self.channels = self._channel_names(axes)
        self.spacing_um: Spacing | None = decide_spacing(path, scene.sizes, z > 1)
        self.origin_um: Spacing | None = decide_origin(path, scene.origin, z > 1)

    def _channel_names(self, axes: str) -> tuple[str, ...]:
        names, count = tuple(map(str, self._scene.channels)), self.shape[1]
        if "S" in axes:
            samples = self._native[axes.index("S")]
            if samples == count:
                return tuple(f"sample {i}" for i in range(samples))
            if len(names) * samples == count:
                return tuple(f"{name} sample {i}" for name in names for i in range(samples))
        return names if len(names) == count else tuple(str(i) for i in range(count))

    @property
    def is_colour(self) -> bool:
        """Whether channels are the samples of a colour."""
        return self.channels[0].endswith("sample 0")

    @property
    def nbytes(self) -> int:
        """Bytes of all channels at one time point."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def read(
        self, time: int, channels: Sequence[int], box: tuple[slice, ...] | None = None
    ) -> np.ndarray:
        """Return the pixels of some channels in a box, (C, Z, Y, X).

        Parameters
        ----------
        time : int
        channels : sequence of int
        box : tuple of slice, optional
            Of Z, Y, X; default: all.

        Raises
        ------
        ImageError
            The pixels do not fit into memory.
        """
        ranges = [
            range(n)[part]
            for n, part in zip(self.shape[2:], box or (slice(None),) * 3, strict=True)
        ]
        first = self._first_plane
        ranges[0] = range(ranges[0].start + first, ranges[0].stop + first)
        size = math.prod(map(len, ranges)) * len(channels) * self.dtype.itemsize
        check_memory(self._path, size)
        all_channels = list(channels) == list(range(self.shape[1]))
        source = self._scene.array
        if all_channels and self._is_everything(ranges) and self._scene.read_all is not None:
            source = self._scene.read_all()
        if all_channels:
            data = self._read_channels(source, time, None, ranges)
        else:
            data = np.concatenate([self._read_channels(source, time, c, ranges) for c in channels])
        if self._scene.white is not None:
            white = np.asarray(self._scene.white, data.dtype)
            data = ~data if data.dtype == bool else white - data
        if self._scene.is_signed:
            data = (data ^ np.uint16(0x8000)).view(np.int16)
        return data if data.flags.writeable else data.copy()

    def _is_everything(self, ranges: Sequence[range]) -> bool:
        is_whole = self.shape[0] == 1 and not self._is_cut
        return is_whole and tuple(map(len, ranges)) == self.shape[2:]

    def _read_channels(
        self, source: Any, time: int, channel: int | None, ranges: Sequence[range]
    ) -> np.ndarray:
        """Return one channel, or all (None), in a box: (C, Z, Y, X)."""
        index: list[int | slice] = [0] * len(self._native)
        times, of_channel = self._positions["T"], self._positions["CS"]
        for i, n in zip(times, _unravel(time, [self._native[i] for i in times]), strict=True):
            index[i] = n
        if channel is None:
            for i in of_channel:
                index[i] = slice(0, self._native[i])
        else:
            sizes = [self._native[i] for i in of_channel]
            for i, n in zip(of_channel, _unravel(channel, sizes), strict=True):
                index[i] = self._native[i] - 1 - n if i in self._mirrored else n
        for axis, part in zip("ZYX", ranges, strict=True):
            for i in self._positions[axis]:
                n = self._native[i]
                backwards = slice(n - part.stop, n - part.start)
                index[i] = backwards if i in self._mirrored else slice(part.start, part.stop)
        data = np.asarray(source[tuple(index)])
        kept = [i for i, part in enumerate(index) if isinstance(part, slice)]
        spatial = [i for axis in "ZYX" for i in self._positions[axis]]
        order = [*(of_channel if channel is None else ()), *spatial]
        data = data.transpose([kept.index(i) for i in order])
        data = data[tuple(slice(None, None, -1 if i in self._mirrored else 1) for i in order)]
        return data.reshape((-1, *(len(part) for part in ranges)))


def _plane_number(path: str | Path, plane: int | None, planes: int) -> int:
    """Return the first plane to read.

    Raises
    ------
    ImageError
        The stack has no such plane.
    """
    if plane is not None and not 0 <= plane < planes:
        raise ImageError(
            str(path), f"has no plane {plane}", f"It has {planes}, counted from 0 along Z."
        )
    return plane or 0


def check_memory(path: str | Path, size: int) -> None:
    """Refuse pixels that do not fit into the free memory, before they are allocated.

    Parameters
    ----------
    path : str or Path
    size : int
        Bytes.

    Raises
    ------
    ImageError
    """
    if size < 2**26:
        return
    free = free_memory()
    if size > MEMORY_FRACTION * free:
        raise ImageError(
            str(path),
            f"declares {size / 2**30:.1f} GiB of pixels to read at once, but {free / 2**30:.1f} "
            "GiB of memory are free",
            "Check that the file is complete; crop the image, or use a machine with more memory.",
        )


def _unravel(number: int, sizes: Sequence[int]) -> tuple[int, ...]:
    """Return the index along each axis; the last axis varies fastest."""
    return tuple(int(n) for n in np.unravel_index(number, sizes)) if sizes else ()
