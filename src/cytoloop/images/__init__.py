"""Reading and writing of microscopy images: any format bioio reads in, OME-TIFF out."""

from cytoloop.images.files import SUFFIXES, list_images, safe_name, stem
from cytoloop.images.labels import as_labels, read_labels
from cytoloop.images.pixels import (
    MemoryPixels,
    Pixels,
    array_pixels,
    level_spacings,
    open_pixels,
    slabs,
)
from cytoloop.images.read import Header, Image, read_header, read_image
from cytoloop.images.spacing import Grid, Spacing
from cytoloop.images.write import write_image, write_png
from cytoloop.images.write_zarr import write_zarr

__all__ = [
    "SUFFIXES",
    "Grid",
    "Header",
    "Image",
    "MemoryPixels",
    "Pixels",
    "Spacing",
    "array_pixels",
    "as_labels",
    "level_spacings",
    "list_images",
    "open_pixels",
    "read_header",
    "read_image",
    "read_labels",
    "safe_name",
    "slabs",
    "stem",
    "write_image",
    "write_png",
    "write_zarr",
]
