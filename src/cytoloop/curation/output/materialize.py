"""Materialising: merged targets as files, for readers that cannot merge."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cytoloop.curation.checks.facts import Facts
from cytoloop.io.digest import file_hash
from cytoloop.io.names import safe_name
from cytoloop.io.writers.tiff import write_image
from cytoloop.manifest import Row
from cytoloop.truth.targets import read_target

FOLDER = "targets"
_CLEARED = (
    *("seg2", "merge_mask", "merge_rule", "channel_seg1", "channel_seg2"),
    *("scene_seg1", "scene_seg2", "time_seg1", "time_seg2"),
)


def materialize(
    rows: Sequence[Row], facts: dict[str, Facts], output: Path
) -> dict[str, dict[str, str]]:
    """Write the merged target of each row that merges, and make it the row's only segmentation.

    The files are named after their content: the manifest of an earlier run keeps its own.

    Parameters
    ----------
    rows : sequence of Row
        With absolute paths; those with a merging mask are changed.
    facts : dict of str to Facts
        By id; the hashes of segmentations are brought up to date.
    output : Path
        Folder of the data set.

    Returns
    -------
    dict of str to dict
        Id to the cells that the target was made from.
    """
    made = {}
    for row in rows:
        if not row["merge_mask"]:
            continue
        made[row.id] = {name: row[name] for name in ("seg1", "merge", "base_image", *_CLEARED)}
        labels, _ = read_target(replace(row, values={**row.values, "exclude_mask": ""}))
        labels = labels.astype(np.min_scalar_type(int(labels.max(initial=0))))
        digest = hashlib.sha256(f"{labels.shape} {labels.dtype}".encode())
        digest.update(np.ascontiguousarray(labels).data)
        path = output.resolve() / FOLDER / f"{safe_name(row.id)}_{digest.hexdigest()[:12]}.ome.tif"
        if not path.is_file():
            write_image(path, labels, "ZYX"[-labels.ndim :], row.spacing_um)
        row.values |= dict.fromkeys(_CLEARED, "")
        row.values |= {"seg1": str(path), "base_image": "seg1", "merge": ""}
        one = facts[row.id]
        hashes = {"raw": one.sha256["raw"], "seg1": file_hash(path)}
        facts[row.id] = replace(one, sha256=hashes)
    return made
