"""Images in: one door to every format, with physical pixel sizes that can be trusted.

bioio reads the pixels. Two things it does not do well are done here: it probes several
readers (and complains about each) before it finds the one for a plain TIFF, and it takes any
resolution tag for micrometres.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from cytoloop.errors import ImageError
from cytoloop.images.spacing import Spacing, read_spacing

_EXTRA = {".nd2": ("bioio_nd2", "cytoloop[nd2]"), ".lif": ("bioio_lif", "bioio-lif")}


@dataclass(frozen=True)
class Header:
    """What a file says about itself, without its pixels.

    Attributes
    ----------
    path : str
        As given.
    shape : tuple of int
        (T, C, Z, Y, X) of the scene.
    dtype : str
        Numpy name, for example ``uint16``.
    spacing_um : tuple of float or None
        Voxel size (Z, Y, X) in micrometres; None where the file does not say.
    channels : tuple of str
        Channel names.
    scenes : tuple of str
        Scene names.
    """

    path: str
    shape: tuple[int, int, int, int, int]
    dtype: str
    spacing_um: Spacing | None
    channels: tuple[str, ...]
    scenes: tuple[str, ...]

    @property
    def spatial(self) -> tuple[int, ...]:
        """(Z, Y, X), or (Y, X) where Z is 1."""
        return self.shape[2:] if self.shape[2] > 1 else self.shape[3:]


@dataclass(frozen=True)
class Image:
    """Pixels with what is needed to measure in them.

    Attributes
    ----------
    data : ndarray
        (C, Z, Y, X), or (C, Y, X) for a 2D image, in the file's own dtype.
    spacing_um : tuple of float or None
        Voxel size (Z, Y, X) in micrometres; None where the file does not say.
    channels : tuple of str
        Names of the channels that were read.
    """

    data: np.ndarray
    spacing_um: Spacing | None
    channels: tuple[str, ...]


def read_header(path: str | Path, scene: str | int | None = None) -> Header:
    """Return shape, dtype, spacing and names without reading pixels.

    Raises
    ------
    ImageError
        The file is missing, empty or of no readable format.
    """
    with readable(path):
        bio = open_scene(path, scene)
        t, c, z, y, x = (int(bio.dims[axis][0]) for axis in "TCZYX")
        names = _channel_names(bio)
        return Header(
            path=str(path),
            shape=(t, len(names) if _is_rgb(bio) else c, z, y, x),
            dtype=str(bio.dtype),
            spacing_um=read_spacing(path, bio),
            channels=tuple(names),
            scenes=tuple(str(s) for s in bio.scenes),
        )


def read_image(
    path: str | Path,
    channel: str | int | list[str | int] | None = None,
    scene: str | int | None = None,
    time: int = 0,
) -> Image:
    """Read one scene and time point of an image.

    Parameters
    ----------
    path : str or Path
        Any file that bioio reads.
    channel : str, int or list of them, optional
        Channel names or numbers; default all.
    scene : str or int, optional
        Scene name or number; default the first.
    time : int
        Time point, from 0.

    Returns
    -------
    Image
        Data (C, Z, Y, X); (C, Y, X) where Z is 1.

    Raises
    ------
    ImageError
        Unreadable file, or a channel, scene or time point that it does not have.
    """
    with readable(path):
        bio = open_scene(path, scene, time)
        names, wanted = channel_numbers(path, bio, channel)
        if _is_rgb(bio):
            data = np.asarray(bio.get_image_dask_data("SZYX", T=time).compute())[wanted]
        elif _is_whole(bio, wanted):
            data = np.asarray(bio.get_image_data("CZYX"))  # all of it: far faster without dask
        else:
            data = np.asarray(bio.get_image_dask_data("CZYX", T=time, C=wanted).compute())
    if data.shape[1] == 1:
        data = data[:, 0]
    return Image(data, read_spacing(path, bio), tuple(names[i] for i in wanted))


def read_labels(
    path: str | Path,
    channel: str | int | None = None,
    scene: str | int | None = None,
    time: int = 0,
) -> np.ndarray:
    """Read a segmentation: one channel of whole, non-negative numbers.

    Returns
    -------
    ndarray
        (Z, Y, X) or (Y, X), unsigned integer; 0 is background.

    Raises
    ------
    ImageError
        Unreadable, or values that are no labels (negative or fractional).
    """
    image = read_image(path, 0 if channel is None else channel, scene, time)
    labels = image.data[0]
    if labels.dtype.kind == "b":
        return labels.astype(np.uint8)
    if labels.dtype.kind == "f" and not (labels == np.round(labels)).all():  # NaN is no label
        raise ImageError(
            str(path),
            "holds fractions or NaN, expected whole numbers (0 = background)",
            "Is this a probability map? Threshold it first.",
        )
    if labels.dtype.kind in "if":
        if labels.size and labels.min() < 0:
            raise ImageError(
                str(path), f"holds negative labels (down to {labels.min()})", "Labels start at 0."
            )
        return labels.astype(np.uint32)
    return labels


@contextmanager
def readable(path: str | Path) -> Iterator[None]:
    """Turn whatever a reader raises into an `ImageError` that names the file."""
    try:
        yield
    except ImageError:
        raise
    except Exception as error:  # each of bioio's readers has exceptions of its own
        raise ImageError(
            str(path),
            f"cannot be read: {_reason(error)}",
            "Open it in Fiji to see whether it is whole; re-export it, or leave it out.",
        ) from error


def _is_whole(bio: Any, wanted: list[int]) -> bool:
    """Tell whether all of a scene is asked for, and has sides that no reader squeezes away."""
    t, c, y, x = (int(bio.dims[axis][0]) for axis in "TCYX")
    return t == 1 and wanted == list(range(c)) and min(y, x) > 1


def _is_rgb(bio: Any) -> bool:
    """Tell whether the samples (S) of a picture stand for its channels."""
    return "S" in bio.dims.order and int(bio.dims["C"][0]) == 1


def _channel_names(bio: Any) -> list[str]:
    if _is_rgb(bio):
        return [f"sample {i}" for i in range(int(bio.dims["S"][0]))]
    names = [str(name) for name in (bio.channel_names or [])]
    count = int(bio.dims["C"][0])  # an OME-Zarr that names none is given one name for all
    return names if len(names) == count else [str(i) for i in range(count)]


def open_scene(
    path: str | Path, scene: str | int | None = None, time: int = 0, level: int = 0
) -> Any:
    """Return an opened ``bioio.BioImage``, with the reader chosen by what the file is.

    Raises
    ------
    ImageError
        A missing or empty file, or a scene, time point or level that it does not have.
    """
    file = Path(path)
    if not file.exists():
        raise ImageError(str(path), "no such file", "Check the path.")
    if file.is_file() and file.stat().st_size == 0:
        raise ImageError(str(path), "the file is empty (0 bytes)", "Copy or export it again.")
    from bioio import BioImage

    bio = BioImage(file, reader=_reader(file))
    if scene is not None:
        known = [str(name) for name in bio.scenes]
        text = str(scene)
        if text not in known and not (text.isdigit() and int(text) < len(known)):
            raise ImageError(
                str(path), f"has no scene {scene!r}", f"Its scenes are {', '.join(known)}."
            )
        bio.set_scene(text if text in known else int(text))
    if level:
        if level not in bio.resolution_levels:
            raise ImageError(
                str(path), f"has no level {level}", f"It has {len(bio.resolution_levels)}, from 0."
            )
        bio.set_resolution_level(level)
    count = int(bio.dims["T"][0])
    if not 0 <= time < count:
        raise ImageError(str(path), f"has no time point {time}", f"It has {count}, counted from 0.")
    return bio


def _reader(file: Path) -> Any:
    """Return the bioio reader for a file; None lets bioio choose.

    Raises
    ------
    ImageError
        It is of a package that is not installed.
    """
    suffix = file.suffix.lower()
    if file.is_dir():  # an OME-Zarr, or one of the labels within it, whatever its name
        return importlib.import_module("bioio_ome_zarr").Reader
    if suffix in (".tif", ".tiff"):
        with tifffile.TiffFile(file) as tif:
            name = "bioio_ome_tiff" if tif.is_ome else "bioio_tifffile"
        return importlib.import_module(name).Reader
    if suffix in (".h5", ".hdf5"):
        from cytoloop.images.hdf5 import Hdf5Reader

        return Hdf5Reader
    if suffix == ".czi":
        from cytoloop.images.czi import CziReader

        return CziReader
    if suffix in _EXTRA:
        name, package = _EXTRA[suffix]
        if importlib.util.find_spec(name) is None:
            raise ImageError(
                str(file),
                f"cannot be read: {suffix} needs a package that is not installed",
                f"Install it: pip install '{package}'",
            )
        return importlib.import_module(name).Reader
    return None


def channel_numbers(
    path: str | Path, bio: Any, channel: str | int | list[str | int] | None
) -> tuple[list[str], list[int]]:
    """Return the names of an image's channels, and the numbers of those that are asked for.

    Raises
    ------
    ImageError
        A channel that it does not have.
    """
    names = _channel_names(bio)
    if channel is None:
        return names, list(range(len(names)))
    asked = list(channel) if isinstance(channel, (list, tuple)) else [channel]
    numbers = []
    for one in asked:
        text = str(one).strip()
        if text in names:
            numbers.append(names.index(text))
        elif re.fullmatch(r"\d+", text) and int(text) < len(names):
            numbers.append(int(text))
        else:
            listing = ", ".join(f"{i}: {name}" for i, name in enumerate(names))
            raise ImageError(str(path), f"has no channel {one!r}", f"Its channels are {listing}.")
    return names, numbers


def _reason(error: Exception) -> str:
    """Return the first line of an error, shortened: the rest is in the log."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:160]
