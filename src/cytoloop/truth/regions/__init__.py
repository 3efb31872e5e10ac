"""Regions of an image: where nothing is learned or scored, and where seg2 replaces seg1.

A region file is one of

mask image, any readable format
    Every voxel above 0 belongs. 2D goes through all z, 3D counts plane by plane.
``.npy``
    Polygons of (y, x) positions, whole numbers at the centres of pixels: the form of the Segmenter
    ML plugin and of CytoDL. Vertices of three columns are (z, y, x): taken by their y, x, they too
    go through all z.
``.json``, ``.geojson``
    A list of such polygons; or GeoJSON of (x, y) positions, whole numbers at the corners of pixels,
    with holes and planes, as QuPath exports it.
``.roi``, ``.zip``
    ImageJ's regions of interest and sets of them, with their slices.

A region can also be a rule, worked out for each image: see `cytoloop.truth.regions.rules`.
"""

from cytoloop.truth.regions.components import instance_labels
from cytoloop.truth.regions.merge import MERGE_RULES, merge_segmentations
from cytoloop.truth.regions.npy import write_polygons_npy
from cytoloop.truth.regions.polygons import Polygon, mask_to_polygons, polygons_to_mask
from cytoloop.truth.regions.read import OUTLINE_SUFFIXES, read_polygons, read_region
from cytoloop.truth.regions.rules import is_rule, parse_rule, region_from_rule
from cytoloop.truth.regions.write import polygons_without_holes, write_region

__all__ = [
    "MERGE_RULES",
    "OUTLINE_SUFFIXES",
    "Polygon",
    "instance_labels",
    "is_rule",
    "mask_to_polygons",
    "merge_segmentations",
    "parse_rule",
    "polygons_to_mask",
    "polygons_without_holes",
    "read_polygons",
    "read_region",
    "region_from_rule",
    "write_polygons_npy",
    "write_region",
]
