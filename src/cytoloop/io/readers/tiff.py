"""TIFF: plain, ImageJ, OME-TIFF and the other kinds that tifffile knows, read by tifffile."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from cytoloop.errors import ImageError
from cytoloop.io.notes import library_messages, note
from cytoloop.io.readers.scene import Scene, check_memory
from cytoloop.io.readers.tiff_companion import is_companion, read_companion
from cytoloop.io.readers.tiff_ome import check_members, ome_images
from cytoloop.io.readers.tiff_photometric import read_photometry
from cytoloop.io.voxel_size import StatedSize

_BROKEN_PROMISE = re.compile(
    "corrupted|cannot handle|missing|failed to read|out of range|invalid (page )?offset", re.I
)
"""Messages of tifffile after which it returns other pixels than the file promises."""
_ORIENTATIONS = {
    1: ("", False),
    2: ("X", False),
    3: ("YX", False),
    4: ("Y", False),
    5: ("", True),
    6: ("X", True),
    7: ("YX", True),
    8: ("Y", True),
}
"""Orientation tag: the stored axes that run backwards, and whether rows and columns are swapped.

The letters are those of the picture, so after the swap."""


class Reader:
    """Reader of TIFF files, see `cytoloop.io.readers.scene.ImageReader`.

    Parameters
    ----------
    path : str or Path

    Raises
    ------
    ImageError
        The file promises planes that it does not have, or is one of several files of an image.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = path
        with library_messages() as messages:
            file, metadata = read_companion(path) if is_companion(path) else (path, None)
            self._file = tifffile.TiffFile(file, omexml=metadata)  # open as long as the reader
            if self._file.is_ome:
                check_members(path, self._file)
            self._series: Sequence[Any] = self._file.series
        for message in messages:
            self._report(message)
        if not self._series:
            raise ImageError(str(path), "holds no image", "Export it again.")
        self._images = ome_images(path, self._file, len(self._series))
        self.scenes = tuple(f"Image:{i}" for i in range(len(self._series)))
        self.scene_names = tuple(str(image.name or "") for image in self._images)

    def _report(self, message: str) -> None:
        """Refuse the file or note a warning, for a message of tifffile."""
        text = re.sub(r"^<tifffile\.\S+ '?.*?'?(, \S+)?> ", "", message)
        if _BROKEN_PROMISE.search(text):
            raise ImageError(
                str(self._path),
                f"cannot be read completely: {text}",
                "Copy or export it again, with all files that belong to it.",
            )
        note(self._path, f"tifffile: {text}")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def count_levels(self, scene: int) -> int:
        """Return the number of pyramid levels."""
        return len(self._series[scene].levels)

    def open(self, scene: int, level: int) -> Scene:
        """Return a scene at a pyramid level."""
        full = self._series[scene]
        series = full.levels[level]
        self._check_planes(series)
        page = series.keyframe
        part = page.tile if page.is_tiled else page.shape
        check_memory(self._path, math.prod(part) * np.dtype(page.dtype).itemsize)
        photometry = read_photometry(
            self._path, page, bool(self._file.is_imagej), "S" in series.axes
        )
        mirrored, swapped = self._orientation(page)
        axes = str(series.axes)
        if swapped:
            axes = axes.translate(str.maketrans("YX", "XY"))
        sizes = self._sizes(scene)
        if swapped:
            sizes["Y"], sizes["X"] = (sizes.get(axis, (None, None)) for axis in "XY")
        for axis, full_n, n in zip(axes, full.shape, series.shape, strict=True):
            value, unit = sizes.get(axis, (None, None))
            if value is not None and n:
                sizes[axis] = (value * full_n / n, unit)
        return Scene(
            array=_Array(series),
            colours=photometry.colours,
            axes=axes.replace("I", "Q"),
            channels=self._channels(scene, series),
            sizes=sizes,
            white=photometry.white,
            is_signed=_is_signed(self._file, page),
            mirrored=mirrored,
            read_all=lambda: np.asarray(series.asarray(level=0)),
            cautions=photometry.cautions,
        )

    def _check_planes(self, series: Any) -> None:
        """Refuse an image whose pixels are not all in the file.

        Raises
        ------
        ImageError
        """
        pages = list(series.pages)
        missing = [i for i, page in enumerate(pages) if page is None]
        if missing:
            raise ImageError(
                str(self._path),
                f"cannot be read completely: it lacks {len(missing)} of {len(pages)} planes "
                f"(the first is plane {missing[0]}, from 0)",
                "Copy or export it again, with all files that belong to it.",
            )
        empty = 0
        if series.dataoffset is not None:
            end, sizes = series.dataoffset + series.nbytes, {series.keyframe.parent.filehandle.size}
            beyond = end > min(sizes)
        else:
            beyond = False
            for page in pages:
                size = page.parent.filehandle.size
                for start, count in zip(page.dataoffsets, page.databytecounts, strict=False):
                    empty += count == 0
                    beyond |= count > 0 and start + count > size
        if beyond:
            raise ImageError(
                str(self._path),
                "cannot be read completely: its pixels end beyond the end of the file",
                "Copy or export it again.",
            )
        if empty:
            note(self._path, f"{empty} of its strips or tiles hold no data and are read as 0")

    def _orientation(self, page: Any) -> tuple[str, bool]:
        tag = page.tags.get("Orientation")
        number = int(tag.value) if tag is not None and isinstance(tag.value, int) else 1
        if number in (0, 1):
            return "", False
        if number not in _ORIENTATIONS:
            raise ImageError(
                str(self._path), f"its orientation is {number}, expected 1 to 8", "Export it again."
            )
        note(
            self._path,
            f"is turned or mirrored as its orientation tag ({number}) says. Programs that ignore "
            "the tag, such as Fiji, show it otherwise",
        )
        return _ORIENTATIONS[number]

    def _channels(self, scene: int, series: Any) -> Sequence[str]:
        if scene < len(self._images):
            return self._images[scene].channels
        shape = dict(zip(series.axes, series.shape, strict=True))
        return [f"Channel:{scene}:{i}" for i in range(shape.get("C", 1))]

    def _sizes(self, scene: int) -> dict[str, StatedSize]:
        if scene < len(self._images):
            return dict(self._images[scene].sizes)
        if self._file.is_imagej:
            return _imagej_sizes(self._file)
        if self._file.is_lsm:
            metadata = self._file.lsm_metadata or {}
            return {axis: (metadata.get(f"VoxelSize{axis}"), "m") for axis in "ZYX"}
        return {}  # the resolution tag of other TIFFs is a print size: 72 dpi would be 353 um


class _Array:
    """The pixels of a series, read from the file part by part."""

    def __init__(self, series: Any) -> None:
        self.shape = tuple(int(n) for n in series.shape)
        self.dtype = np.dtype(series.dtype)
        self._series = series

    def __getitem__(self, part: Any) -> np.ndarray:
        return np.asarray(self._pixels[part])

    @functools.cached_property
    def _pixels(self) -> Any:
        import zarr

        # tiles are read one by one; strips of a plane together, which is faster
        mode = None if self._series.keyframe.is_tiled else "page"
        return zarr.open_array(self._series.aszarr(level=0, chunkmode=mode), mode="r")


def _is_signed(file: tifffile.TiffFile, page: Any) -> bool:
    """Return whether ImageJ calls the numbers signed: it keeps int16 as uint16 plus 32768."""
    stated = (file.imagej_metadata or {}) if file.is_imagej else {}
    calibration = tuple(stated.get(key) for key in ("cf", "c0", "c1"))
    return np.dtype(page.dtype) == np.uint16 and calibration == (0, -32768, 1)


def _imagej_sizes(file: tifffile.TiffFile) -> dict[str, StatedSize]:
    """Return the voxel size of an ImageJ TIFF; without a unit of length it states none."""
    metadata = file.imagej_metadata or {}
    unit = str(metadata.get("unit", "")).strip()
    if not unit:
        return {}
    sizes: dict[str, StatedSize] = {}
    for axis in "YX":
        tag = file.pages.first.tags.get(f"{axis}Resolution")
        if tag is not None:
            pixels, length = (float(n) for n in tag.value)
            sizes[axis] = (length / pixels if pixels else 0.0, unit)
    if "spacing" in metadata:
        sizes["Z"] = (metadata["spacing"], unit)
    return sizes
