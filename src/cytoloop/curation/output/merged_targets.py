"""Writes merged targets as files, for programs that cannot merge segmentations."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cytoloop.curation.checks.result import CheckResult
from cytoloop.curation.file_names import TARGET_FOLDER
from cytoloop.curation.row_cells import replace_segmentation
from cytoloop.io.digest import file_hash
from cytoloop.io.names import safe_name
from cytoloop.io.writers.tiff import write_image
from cytoloop.manifest import Row
from cytoloop.truth.targets import read_target


def write_merged_targets(
    rows: Sequence[Row], results: dict[str, CheckResult], output: Path
) -> dict[str, dict[str, str]]:
    """Write the merged target of each row that merges, and make it the row's only segmentation.

    The file names contain a hash of the content, so the files of an earlier run stay as they are.

    Parameters
    ----------
    rows : sequence of Row
        With absolute paths. Rows with a merging mask are changed.
    results : dict of str to CheckResult
        By row id. The file hashes of changed rows are replaced.
    output : Path
        Folder of the data set.

    Returns
    -------
    dict of str to dict
        Row id to the cells that the target was made from.
    """
    merged_from = {}
    for row in rows:
        if not row["merge_mask"]:
            continue
        path = _write_target(row, output.resolve() / TARGET_FOLDER)
        ignored = row["ignore_label"]  # read_target has made these voxels background
        merged_from[row.id] = replace_segmentation(row, str(path))
        row.values["ignore_label"] = ignored
        result = results[row.id]
        hashes = {"raw": result.sha256["raw"], "seg1": file_hash(path)}
        results[row.id] = replace(result, sha256=hashes)
    return merged_from


def _write_target(row: Row, folder: Path) -> Path:
    labels, _ = read_target(replace(row, values={**row.values, "exclude_mask": ""}))
    labels = labels.astype(np.min_scalar_type(int(labels.max(initial=0))))
    digest = hashlib.sha256(f"{labels.shape} {labels.dtype}".encode())
    digest.update(np.ascontiguousarray(labels).data)
    path = folder / f"{safe_name(row.id)}_{digest.hexdigest()[:12]}.ome.tif"
    if not path.is_file():
        write_image(path, labels, "ZYX"[-labels.ndim :], row.spacing_um)
    return path
