"""The pairs of files that a data set will have, with what is wrong, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from cytoloop.curation.pairing.pairs import match_images
from cytoloop.curation.pairing.source_files import list_sources
from cytoloop.errors import CytoloopError
from cytoloop.io.names import stem
from cytoloop.io.pixels import open_pixels
from cytoloop.io.read import Header, read_header
from cytoloop.manifest import Row, is_table, read_manifest

_MAX_CHECKED = 500
"""Headers that are read for the table; `curate` reads all."""
THUMBNAIL = 48
"""Longest edge of a thumbnail in pixels."""


@dataclass(frozen=True)
class PairRow:
    """A row of the table of pairs.

    Attributes
    ----------
    id : str
    raw, seg1, seg2 : str
        Absolute paths; "" where there is none.
    shape : tuple of int
        ([Z,] Y, X) of the raw image; () where it cannot be read.
    channels : tuple of str
    spacing_um : tuple of float or None
        Voxel size (Z, Y, X) that the file states.
    problem : str
        What is wrong and how to repair it; "" for a good pair.
    """

    id: str
    raw: str
    seg1: str
    seg2: str
    shape: tuple[int, ...] = ()
    channels: tuple[str, ...] = ()
    spacing_um: tuple[float, ...] | None = None
    problem: str = ""


def preview_pairs(values: Mapping[str, str]) -> list[PairRow]:
    """Return the pairs and the files without partners; rows with problems come first.

    Parameters
    ----------
    values : mapping of str to str
        ``raw``, ``seg1``, ``seg2`` and ``key`` as in `cytoloop curate`.

    Raises
    ------
    ConfigError, ManifestError
        A folder does not exist or holds no images, or the key is wrong.
    """
    sources = {name: values.get(name) or None for name in ("raw", "seg1", "seg2")}
    if not sources["raw"]:
        return []
    if not sources["seg1"]:  # images to predict, or a table with its own columns
        if is_table(sources["raw"]):
            return [_row_of_table(row) for row in read_manifest(sources["raw"])]
        listed = list_sources({"raw": sources["raw"]})["raw"]
        return [_checked(PairRow(stem(path), str(path), "", "")) for path in listed[:_MAX_CHECKED]]
    pairs, unmatched = match_images(sources, values.get("key") or "stem")
    rows = []
    for number, pair in enumerate(pairs):
        seg2 = str(pair.seg2 or "")
        row = PairRow(pair.id, str(pair.raw), str(pair.seg1), seg2)
        rows.append(_checked(row) if number < _MAX_CHECKED else row)
    for one in unmatched:
        raw, seg1, seg2 = (str(one.path) if name == one.source else "" for name in sources)
        text = f"{one.why}. Give it a partner of the same name, or leave it out."
        rows.append(PairRow(one.key or one.path.name, raw, seg1, seg2, problem=text))
    return sorted(rows, key=lambda row: (not row.problem, row.id))


def describe(rows: list[PairRow]) -> str:
    """Return a sentence about the pairs: number, dimensions, voxel size, problems."""
    good = [row for row in rows if not row.problem]
    parts = [f"{len(good)} images can be used"]
    dims = sorted({len(row.shape) for row in good if row.shape})
    if dims:
        parts.append("2D and 3D mixed" if len(dims) > 1 else f"{dims[0]}D")
    without = [row for row in good if row.shape and row.spacing_um is None]
    if without:
        parts.append(f"{len(without)} state no voxel size: fill it in")
    problems = len(rows) - len(good)
    if problems:
        parts.append(f"{problems} rows have problems, listed first")
    return "; ".join(parts) + "."


def thumbnail(path: str, channel: str | int | None = None) -> np.ndarray:
    """Return a small picture of the middle plane of an image, (y, x) uint8.

    Raises
    ------
    ImageError
        The image cannot be read.
    """
    pixels = open_pixels(path, None if channel in (None, "") else channel)
    shape = tuple(pixels.shape)
    step = max(1, max(shape[-2:]) // THUMBNAIL)
    box: tuple[slice, ...] = (slice(0, shape[-2]), slice(0, shape[-1]))
    if len(shape) == 3:
        box = (slice(shape[0] // 2, shape[0] // 2 + 1), *box)
    plane = pixels.read(box)[0].reshape(shape[-2:])[::step, ::step].astype(np.float32)
    low, high = np.percentile(plane, (0.5, 99.8))
    return np.asarray(np.clip((plane - low) / max(high - low, 1e-6), 0, 1) * 255, np.uint8)


def _row_of_table(row: Row) -> PairRow:
    return _checked(
        PairRow(row.id, row.location("raw"), row.location("seg1"), row.location("seg2"))
    )


def _checked(row: PairRow) -> PairRow:
    """Return a row with what the headers say."""
    headers: dict[str, Header] = {}
    problems = []
    for name in ("raw", "seg1", "seg2"):
        path = getattr(row, name)
        if not path:
            continue
        try:
            headers[name] = read_header(path)
        except CytoloopError as error:
            problems.append(f"{name}: {'; '.join(error.problems)}. {error.repair}")
    raw = headers.get("raw")
    for name in ("seg1", "seg2"):
        other = headers.get(name)
        if raw is not None and other is not None and other.spatial != raw.spatial:
            problems.append(
                f"{name} is {_by(other.spatial)} but raw is {_by(raw.spatial)}: give the "
                "segmentation of this image"
            )
    found: dict[str, object] = {"problem": " ".join(problems)}
    if raw is not None:
        found |= {"shape": raw.spatial, "channels": raw.channels, "spacing_um": raw.spacing_um}
    return replace(row, **found)  # type: ignore[arg-type]


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
