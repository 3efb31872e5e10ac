"""The table of image formats: file endings, and the reader of each.

A new format is one entry of `FORMATS` and, if bioio has no plugin for it, one module here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_HERE = "cytoloop.io.readers."


@dataclass(frozen=True)
class Format:
    """An image format.

    Attributes
    ----------
    name : str
    suffixes : tuple of str
        File endings in lower case; double endings come before single ones.
    module : str
        Module with a class ``Reader`` (`cytoloop.io.readers.scene.ImageReader`), or the plugin of
        bioio that reads the format.
    extra : str
        Extra of CytoLoop that installs the module; "" if CytoLoop depends on it.
    reader : str
        Name of the class.
    is_companion : bool
        A format of files that lie beside images, such as previews: a folder that holds other
        images leaves them out.
    """

    name: str
    suffixes: tuple[str, ...]
    module: str
    extra: str = ""
    reader: str = "Reader"
    is_companion: bool = False


FORMATS = (
    Format("TIFF", (".companion.ome", ".ome.tiff", ".ome.tif", ".tiff", ".tif"), _HERE + "tiff"),
    Format(
        "OME-Zarr", (".ome.zarr", ".zarr", ".ome.zarr.zip", ".zarr.zip", ".ozx"), _HERE + "zarr"
    ),
    Format("CZI", (".czi",), _HERE + "czi", "czi"),
    Format("HDF5", (".h5", ".hdf5"), _HERE + "hdf5"),
    Format("ND2", (".nd2",), "bioio_nd2", "nd2"),
    Format("LIF", (".lif",), "bioio_lif", "lif"),
    Format("NIfTI", (".nii.gz", ".nii"), _HERE + "volumes", "volumes", "NiftiReader"),
    Format("NRRD", (".nrrd", ".nhdr"), _HERE + "volumes", "volumes", "NrrdReader"),
    Format("MRC", (".mrc", ".rec"), _HERE + "volumes", "volumes", "MrcReader"),
    Format("PNG", (".png",), _HERE + "picture", is_companion=True),
    Format("JPEG", (".jpg", ".jpeg"), _HERE + "picture", is_companion=True),
    Format("Cellpose", ("_seg.npy",), _HERE + "cellpose", is_companion=True),
    Format("BMP", (".bmp",), _HERE + "picture", is_companion=True),
)
"""The first entry that fits a file is used."""

IMAGE_SUFFIXES = tuple(dict.fromkeys(suffix for entry in FORMATS for suffix in entry.suffixes))
"""File endings that count as images when a folder is listed."""

COMPANION_SUFFIXES = tuple(s for entry in FORMATS if entry.is_companion for s in entry.suffixes)
"""Endings of files that a folder may hold beside its images."""


def find_format(path: Path) -> Format | None:
    """Return the format of a file or folder, None if it is not in the table.

    Every folder is an OME-Zarr: a label image inside a store has no file ending.
    """
    name = ".zarr" if path.is_dir() else path.name.lower()
    return next((entry for entry in FORMATS if name.endswith(entry.suffixes)), None)
