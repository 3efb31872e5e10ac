"""Image formats."""

from __future__ import annotations

IMAGE_SUFFIXES = (
    *(".ome.tiff", ".ome.tif", ".ome.zarr", ".tiff", ".tif"),
    *(".czi", ".zarr", ".nd2", ".lif", ".h5", ".hdf5"),
)
"""File name endings taken for images when a folder is listed."""
