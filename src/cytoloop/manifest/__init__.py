"""The manifest: the CSV file that each verb reads and writes.

The first six columns are CytoDL's, with CytoDL's meaning; CytoLoop's columns follow. Relative paths
start at the folder of the manifest. A cell may hold a URL instead of a path
(`cytoloop.io.remote`). This package does not import torch or pandas.
"""

from cytoloop.manifest.cells import append_encoding, is_table, read_csv_text
from cytoloop.manifest.columns import (
    COLUMNS,
    CYTODL_COLUMNS,
    FILE_COLUMNS,
    OWN_COLUMNS,
    SELECTION_COLUMNS,
)
from cytoloop.manifest.dataset import SPLIT_FILES, dataset_hash, read_dataset
from cytoloop.manifest.find_files import find_files
from cytoloop.manifest.own_folder import table_in
from cytoloop.manifest.parts import Part, part_of, stated_axes
from cytoloop.manifest.paths import absolute_location, absolute_path
from cytoloop.manifest.planes import annotated_planes, plane_cell, stack_of
from cytoloop.manifest.read import read_manifest, read_table
from cytoloop.manifest.row import ALL_PLANES, ANNOTATED_PLANES, PLANE_WORDS, Manifest, Row
from cytoloop.manifest.series import expand_row, series_cells
from cytoloop.manifest.write import format_spacing, write_manifest

__all__ = [
    "ALL_PLANES",
    "ANNOTATED_PLANES",
    "COLUMNS",
    "CYTODL_COLUMNS",
    "FILE_COLUMNS",
    "OWN_COLUMNS",
    "PLANE_WORDS",
    "SELECTION_COLUMNS",
    "SPLIT_FILES",
    "Manifest",
    "Part",
    "Row",
    "absolute_location",
    "absolute_path",
    "annotated_planes",
    "append_encoding",
    "dataset_hash",
    "expand_row",
    "find_files",
    "format_spacing",
    "is_table",
    "part_of",
    "plane_cell",
    "read_csv_text",
    "read_dataset",
    "read_manifest",
    "read_table",
    "series_cells",
    "stack_of",
    "stated_axes",
    "table_in",
    "write_manifest",
]
