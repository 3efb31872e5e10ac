"""Reading and writing of microscopy images: any format bioio reads in, OME-TIFF out."""

from cytoloop.images.files import SUFFIXES, list_images, safe_name, stem
from cytoloop.images.read import Header, Image, read_header, read_image, read_labels
from cytoloop.images.spacing import Spacing
from cytoloop.images.write import write_image, write_png

__all__ = [
    "SUFFIXES",
    "Header",
    "Image",
    "Spacing",
    "list_images",
    "read_header",
    "read_image",
    "read_labels",
    "safe_name",
    "stem",
    "write_image",
    "write_png",
]
