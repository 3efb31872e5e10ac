"""Regions of an image: exclude masks and merge masks, from files or rules.

A region file is one of

mask image, any readable format
    All voxels above 0. A 2D mask applies to all planes; a 3D mask has a value for each voxel.
``.npy``
    Polygons of (y, x) positions, in which whole numbers are pixel centres: the format of the
    Segmenter ML plugin and of CytoDL. Of (z, y, x) positions, z is ignored. Polygons apply to all
    planes.
``.json``, ``.geojson``
    A list of such polygons. Or GeoJSON of (x, y) positions, in which whole numbers are pixel
    corners, with holes and planes, as exported by QuPath.
``.roi``, ``.zip``
    ImageJ's regions of interest and sets of them, with their slices.

A region rule computes the region from each image: see `cytoloop.truth.regions.rules`.
"""

from cytoloop.truth.regions.components import instance_labels
from cytoloop.truth.regions.merge import MERGE_RULES, merge_segmentations
from cytoloop.truth.regions.npy import write_polygons_npy
from cytoloop.truth.regions.polygons import Polygon, mask_to_polygons, polygons_to_mask
from cytoloop.truth.regions.read import OUTLINE_SUFFIXES, is_outline, read_polygons, read_region
from cytoloop.truth.regions.rules import (
    box_of_rule,
    box_rules,
    is_rule,
    parse_rule,
    region_from_rule,
)
from cytoloop.truth.regions.write import polygons_without_holes, write_region

__all__ = [
    "MERGE_RULES",
    "OUTLINE_SUFFIXES",
    "Polygon",
    "box_of_rule",
    "box_rules",
    "instance_labels",
    "is_outline",
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
