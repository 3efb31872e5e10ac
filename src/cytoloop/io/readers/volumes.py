"""NIfTI, NRRD and MRC, by nibabel, pynrrd and mrcfile (extra ``volumes``)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.errors import ImageError
from cytoloop.extras import import_extra
from cytoloop.io.axes import UNKNOWN
from cytoloop.io.notes import note
from cytoloop.io.readers.scene import Scene, check_memory
from cytoloop.io.voxel_size import StatedSize

_EXTRA = "volumes"


class _OneScene:
    """A reader of a file with one image and no pyramid."""

    scenes = ("Image:0",)

    def close(self) -> None:
        """Do nothing: the pixels may still refer to the file."""

    def count_levels(self, scene: int) -> int:
        """Return 1: the format has no pyramid."""
        return 1


class NiftiReader(_OneScene):
    """Reader of NIfTI, see `cytoloop.io.readers.scene.ImageReader`.

    The axes are as they are stored, X, Y, Z, T and channels: the position of a patient in the
    scanner (the affine) is not applied.

    Parameters
    ----------
    path : str or Path
    """

    def __init__(self, path: str | Path) -> None:
        self._path = str(path)
        (nibabel,) = import_extra(self._path, _EXTRA, "nibabel")
        self._image: Any = nibabel.load(str(path))

    def open(self, scene: int, level: int) -> Scene:
        """Return the image."""
        axes = "XYZTC"[: len(self._image.shape)] + UNKNOWN * (len(self._image.shape) - 5)
        unit, _ = self._image.header.get_xyzt_units()
        zooms = zip("XYZ", self._image.header.get_zooms()[:3], strict=False)
        sizes: dict[str, StatedSize] = {axis: (float(size), unit) for axis, size in zooms}
        if unit == "unknown":
            sizes = _without_unit(self._path, sizes)
        return Scene(array=_Proxy(self._image.dataobj), axes=axes, sizes=sizes)


class _Proxy:
    """The pixels of a NIfTI, read from the file part by part, scaled as its header says."""

    def __init__(self, dataobj: Any) -> None:
        self._dataobj = dataobj
        self.shape = tuple(dataobj.shape)
        self.dtype = np.asarray(dataobj[(slice(0, 1),) * len(self.shape)]).dtype

    def __getitem__(self, part: Any) -> np.ndarray:
        return np.asarray(self._dataobj[part]).astype(self.dtype, copy=False)


class NrrdReader(_OneScene):
    """Reader of NRRD, see `cytoloop.io.readers.scene.ImageReader`.

    Parameters
    ----------
    path : str or Path
    """

    def __init__(self, path: str | Path) -> None:
        self._path = str(path)
        (self._nrrd,) = import_extra(self._path, _EXTRA, "nrrd")
        self._header: Any = self._nrrd.read_header(self._path)

    def open(self, scene: int, level: int) -> Scene:
        """Return the image."""
        header = self._header
        count = int(header["dimension"])
        kinds = [str(kind).lower() for kind in header.get("kinds") or ["???"] * count]
        spatial = [i for i, kind in enumerate(kinds) if kind in ("domain", "space", "???")]
        axes = ["C"] * count
        for axis, i in zip("XYZ", spatial, strict=False):
            axes[i] = axis
        for i in spatial[3:]:
            axes[i] = UNKNOWN
        for i, kind in enumerate(kinds):
            if kind == "time":
                axes[i] = "T"
        check_memory(self._path, 8 * math.prod(int(n) for n in header["sizes"]))
        data, _ = self._nrrd.read(self._path)
        return Scene(array=data, axes="".join(axes), sizes=self._sizes(axes))

    def _sizes(self, axes: list[str]) -> dict[str, StatedSize]:
        """Return the length of the direction of each axis."""
        header = self._header
        units = [str(unit) for unit in header.get("space units") or header.get("units") or ()]
        directions = header.get("space directions")
        spacings = header.get("spacings")
        if directions is not None:
            lengths = [float(np.linalg.norm(np.asarray(d, float))) for d in directions]
        elif spacings is not None:
            lengths = [float(size) for size in spacings]
        else:
            return {}
        unit = units[0] if units else None
        found = zip(axes, lengths, strict=True)
        sizes: dict[str, StatedSize] = {a: (size, unit) for a, size in found if a in "XYZ"}
        return sizes if unit else _without_unit(self._path, sizes)


def _without_unit(path: str, sizes: dict[str, StatedSize]) -> dict[str, StatedSize]:
    """Return no voxel size, with a warning unless all sizes are 1."""
    if any(size != 1 for size, _ in sizes.values()):
        text = " x ".join(f"{size:g} {axis}" for axis, (size, _) in sizes.items())
        note(
            path,
            f"states voxels of {text} without a unit; they are taken as unknown. Set "
            "spacing_um=[z,y,x]",
        )
    return {}


class MrcReader(_OneScene):
    """Reader of MRC, see `cytoloop.io.readers.scene.ImageReader`.

    Parameters
    ----------
    path : str or Path

    Raises
    ------
    ImageError
        Volumes of complex numbers.
    """

    def __init__(self, path: str | Path) -> None:
        (mrcfile,) = import_extra(str(path), _EXTRA, "mrcfile")
        self._file: Any = mrcfile.mmap(str(path), mode="r")
        if self._file.data.dtype.kind not in "iuf":
            raise ImageError(
                str(path), f"holds {self._file.data.dtype}", "Expected whole numbers or floats."
            )

    def open(self, scene: int, level: int) -> Scene:
        """Return the image; voxel sizes are in angstrom."""
        data = self._file.data
        size = self._file.voxel_size
        sizes: dict[str, StatedSize] = {
            axis.upper(): (value if (value := float(size[axis])) else None, "angstrom")
            for axis in "zyx"
        }
        axes = {2: "YX", 3: "ZYX", 4: "TZYX"}[data.ndim]
        if data.ndim == 3 and self._file.is_image_stack():
            axes = UNKNOWN + "YX"  # old programs call volumes so too
        return Scene(array=data, axes=axes, sizes=sizes)
