"""Replay: training images of an earlier data set, so that the network does not forget them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cytoloop.errors import ManifestError
from cytoloop.manifest import Manifest, read_dataset


def replay_rows(
    path: str | Path, dataset: Mapping[str, Manifest], planes: object = None
) -> Manifest:
    """Return the training rows of an earlier data set that may be replayed.

    Left out are images that are in the present data set, and images of groups that are in its
    validation or test split.

    Parameters
    ----------
    path : str or Path
        Earlier data set.
    dataset : mapping of str to Manifest
        Present data set.
    planes : bool, str or None
        See `cytoloop.manifest.read_dataset`.

    Raises
    ------
    ManifestError
        No image remains.
    """
    known = {row.file("raw") for manifest in dataset.values() for row in manifest}
    held_out = {
        row["group"] for split in ("valid", "test") for row in dataset[split] if row["group"]
    }
    earlier = read_dataset(path, planes=planes)["train"]
    rows = [row for row in earlier if row.file("raw") not in known and row["group"] not in held_out]
    if not rows:
        raise ManifestError(
            str(earlier.path),
            "no image is left to replay: all are in the present data set, or in groups of its "
            "validation or test split",
            "Leave out data.replay_fraction and data.replay_path.",
        )
    return Manifest(earlier.path, rows)
