"""Column names of a manifest."""

from __future__ import annotations

from collections.abc import Sequence

CYTODL_COLUMNS = ("raw", "seg1", "seg2", "merge_mask", "exclude_mask", "base_image")
OWN_COLUMNS = (
    *("id", "split", "group"),
    *("channel", "channel_seg1", "channel_seg2"),
    *("scene", "scene_seg1", "scene_seg2"),
    *("time", "time_seg1", "time_seg2"),
    "plane",
    *("axes", "axes_seg1", "axes_seg2"),
    *("spacing_um", "ignore_label", "merge_rule", "exclude", "merge"),
    *("fold", "status", "reason", "flags", "warnings", "curator", "sha256"),
)
"""CytoLoop's columns. None starts with the name of a CytoDL column: CytoDL finds its columns by
prefix and would take ``raw_channel`` for ``raw``."""

COLUMNS = CYTODL_COLUMNS + OWN_COLUMNS
FILE_COLUMNS = ("raw", "seg1", "seg2", "merge_mask", "exclude_mask")
"""Columns that hold a path or a URL."""

PREFIXES = {
    **dict.fromkeys(("sha256", "model_sha256", "input_sha256", "settings"), "sha256:"),
    "run_id": "runs:/",
}
"""Columns of hexadecimal numbers, and what their cells begin with in a file.

Without it pandas takes ``12e3000000000c...`` for a number, and ends the process (pandas 2.3).
"""

SELECTION_COLUMNS = (
    *("base_image", "merge_rule", "ignore_label", "spacing_um"),
    *("channel", "channel_seg1", "channel_seg2"),
    *("scene", "scene_seg1", "scene_seg2", "time", "time_seg1", "time_seg2", "plane"),
    *("axes", "axes_seg1", "axes_seg2"),
)
"""Columns that select a part of the files. With the files they determine the row's images."""

_OLDER_NAMES = {"seg_type": "base_image", "excl_mask": "exclude_mask"}
"""Column names of older versions of CytoDL."""
_OF_PREDICTIONS = ("probability", "mask", "labels", "classes")


def known_columns(header: Sequence[str]) -> list[str]:
    """Return the column names of a header, known ones in the spelling of the product.

    >>> known_columns(["Raw", "SEG1", "Spacing um", "Donor", "seg_type"])
    ['raw', 'seg1', 'spacing_um', 'Donor', 'base_image']
    """
    known = {name: name for name in (*COLUMNS, *_OF_PREDICTIONS)} | _OLDER_NAMES
    spelled = [known.get(name.lower().replace(" ", "_"), name) for name in header]
    # a column that is spelled as the product spells it is not joined by another one
    return [
        name if name not in header or name == typed else typed
        for name, typed in zip(spelled, header, strict=True)
    ]
