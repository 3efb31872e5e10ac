"""Rows of an earlier data set, replayed in training so that they are not forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cytoloop.errors import ManifestError
from cytoloop.manifest import Manifest, read_dataset


def replay_rows(path: str | Path, dataset: Mapping[str, Manifest]) -> Manifest:
    """Return training rows of an earlier data set that the present one knows nothing of.

    An image, or an image of a group, that validates or tests now must not be trained on; one that
    trains now counts once.

    Raises
    ------
    ManifestError
        No image is left.
    """
    known = {row.file("raw") for manifest in dataset.values() for row in manifest}
    kept_apart = {
        row["group"] for split in ("valid", "test") for row in dataset[split] if row["group"]
    }
    former = read_dataset(path)["train"]
    rows = [
        row for row in former if row.file("raw") not in known and row["group"] not in kept_apart
    ]
    if not rows:
        raise ManifestError(
            str(former.path),
            "no image is left to replay: all are in the present data set, or of groups that "
            "validate or test there",
            "Leave data.replay_fraction out.",
        )
    return Manifest(former.path, rows)
