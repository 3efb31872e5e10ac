"""The table of image formats: file endings, and the module that reads them.

A new format is one entry of `FORMATS` and, if bioio has no plugin for it, one module here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


def _is_ome_tiff(path: Path) -> bool:
    import tifffile

    with tifffile.TiffFile(path) as tif:
        return bool(tif.is_ome)


@dataclass(frozen=True)
class Format:
    """An image format.

    Attributes
    ----------
    suffixes : tuple of str
        File endings in lower case; double endings come before single ones.
    module : str
        Module whose class ``Reader`` is a `bioio_base.reader.Reader`.
    install : str
        What to install if the module cannot be imported; "" if CytoLoop depends on it.
    accepts : callable, optional
        Function of the path that says whether the file has this format; default: any file with
        one of the endings.
    """

    suffixes: tuple[str, ...]
    module: str
    install: str = ""
    accepts: Callable[[Path], bool] | None = None


_TIFF = (".ome.tiff", ".ome.tif", ".tiff", ".tif")

FORMATS = (
    Format(_TIFF, "bioio_ome_tiff", accepts=_is_ome_tiff),
    Format(_TIFF, "bioio_tifffile"),
    Format((".ome.zarr", ".zarr"), "bioio_ome_zarr"),
    Format((".czi",), "cytoloop.io.readers.czi", "cytoloop[czi]"),
    Format((".h5", ".hdf5"), "cytoloop.io.readers.hdf5"),
    Format((".nd2",), "bioio_nd2", "cytoloop[nd2]"),
    Format((".lif",), "bioio_lif", "bioio-lif"),
)
"""The first entry that fits a file is used."""

IMAGE_SUFFIXES = tuple(dict.fromkeys(suffix for entry in FORMATS for suffix in entry.suffixes))
"""File endings that count as images when a folder is listed."""


def find_format(path: Path) -> Format | None:
    """Return the format of a file or folder, None if it is not in the table.

    Every folder is an OME-Zarr: a label image inside a store has no file ending.
    """
    name = ".zarr" if path.is_dir() else path.name.lower()
    for entry in FORMATS:
        if name.endswith(entry.suffixes) and (entry.accepts is None or entry.accepts(path)):
            return entry
    return None
