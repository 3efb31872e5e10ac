"""The result of checking a row: what its files hold, its quality metrics, its problems."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from cytoloop.io.voxel_size import Spacing

SPACING_TOLERANCE = 0.02
"""Relative difference below which two voxel sizes count as equal: metadata are rounded."""

FILE_NOT_FOUND = "file not found"
IS_CONSTANT = "is constant"
"""First words of the problem of an image without signal."""


class Problem(NamedTuple):
    """A problem of a row: its column; what was found, what was expected, how to repair it."""

    column: str
    text: str


@dataclass(frozen=True)
class CheckResult:
    """What the check of a row found.

    Attributes
    ----------
    id : str
        Of the row.
    shape : tuple of int or None
        (Z, Y, X) or (Y, X) of the raw image; None where it cannot be read.
    channels : int
        Number of raw channels that the row uses.
    spacing_um : tuple of float or None
        Voxel size (Z, Y, X) in um: from the row, else from the raw file.
    file_spacing_um : tuple of float or None
        Voxel size in the raw file.
    objects : int
        Objects of the target outside the excluding mask. In a binary target: connected components.
    foreground : float
        Fraction of the voxels outside the excluding mask that are in objects, 0 to 1.
    sha256 : dict of str to str
        File column to the hash of its file.
    region_sha256 : dict of str to str
        Path or URL of each region file to its hash.
    masks : dict of str to str
        ``exclude_mask`` and ``merge_mask``: the files of the masks, "" where there is none.
    metrics : dict of str to float
        Quality metrics; empty where they were not requested.
    fingerprint : str
        Thumbnail as text, for finding near-duplicates; see
        `cytoloop.curation.checks.quality_metrics.fingerprint`.
    pixel_hash : str
        Hash of the raw pixels that the row uses. It is the same for two files of the same pixels,
        whose file hashes differ (each OME-TIFF contains a random id).
    problems : tuple of Problem
        Empty for a good row.
    warnings : tuple of str
        What was assumed or repaired while the files were read.
    """

    id: str
    shape: tuple[int, ...] | None = None
    channels: int = 0
    spacing_um: Spacing | None = None
    file_spacing_um: Spacing | None = None
    objects: int = 0
    foreground: float = 0.0
    sha256: dict[str, str] = field(default_factory=dict)
    region_sha256: dict[str, str] = field(default_factory=dict)
    masks: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    fingerprint: str = ""
    pixel_hash: str = ""
    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the result as text, for `from_json`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> CheckResult:
        """Return the result that `to_json` wrote."""
        values = json.loads(text)
        for name in ("shape", "spacing_um", "file_spacing_um"):
            values[name] = tuple(values[name]) if values[name] is not None else None
        values["problems"] = tuple(Problem(*problem) for problem in values["problems"])
        values["warnings"] = tuple(values["warnings"])
        return cls(**values)


def spacings_differ(one: Spacing, other: Spacing, axes: int) -> bool:
    """Return whether two voxel sizes (Z, Y, X) differ by more than 2 % along the last axes."""
    pairs = list(zip(one, other, strict=True))[-axes:]
    return any(abs(a - b) > SPACING_TOLERANCE * max(a, b) for a, b in pairs)
