"""ImageJ's regions of interest: ``.roi``, and sets of them as ``.zip``.

In ImageJ, whole-number positions of areas are pixel corners: a rectangle at left 2 of width 4
contains the pixels x = 2 to 5. In this package, they are pixel centres: half a pixel is subtracted.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cytoloop.errors import ImageError
from cytoloop.truth.regions.fill import fill_outline
from cytoloop.truth.regions.parse import (
    CORNER_OFFSET,
    MAX_BYTES,
    check_polygons,
    open_ring,
    read_bytes,
)
from cytoloop.truth.regions.polygons import Polygon, mask_to_polygons

if TYPE_CHECKING:
    from roifile import ImagejRoi

_MAX_PIXELS = 1 << 28
"""Maximum area of a composite's bounding box."""


def read_rois(path: str | Path) -> list[Polygon]:
    """Read the areas of an ImageJ ROI file or ROI set.

    Rectangles, ovals, polygons, freehand and traced outlines, and composites with holes are read.
    A ROI's slice (from 1 in ImageJ) becomes its plane; 0 means all planes.

    Raises
    ------
    ImageError
        The file is not a ROI file, an archive unpacks to too much, or ROIs have no area (lines,
        points, text); all of these are listed.
    """
    return [polygon for _, polygons in read_named_rois(path) for polygon in polygons]


def read_named_rois(path: str | Path) -> list[tuple[str, list[Polygon]]]:
    """Read the areas of an ImageJ ROI file or ROI set, with the name of each ROI.

    Returns
    -------
    list of (str, list of Polygon)
        In the order of the file, with the names that ImageJ's ROI Manager shows.

    Raises
    ------
    ImageError
        See `read_rois`.
    """
    content = read_bytes(path)
    archive = zipfile.is_zipfile(io.BytesIO(content))
    rois: list[tuple[str, list[Polygon]]] = []
    problems, times = [], set()
    for name, data in _members(path, content) if archive else [("", content)]:
        try:
            roi = _parse(data)
            rois.append((name or roi.name, _polygons(roi)))
            times.add(roi.t_position)
        except Exception as error:  # roifile raises many types on broken bytes
            problems.append(f"{name or 'the ROI'}: {str(error)[:120]}")
    if len(times - {0}) > 1:
        problems.append(f"ROIs of {len(times - {0})} time points; save one set for each")
    if problems:
        raise ImageError(
            str(path), problems, "Expected areas: rectangle, oval, polygon, freehand, composite."
        )
    check_polygons(path, (polygon for _, polygons in rois for polygon in polygons))
    return rois


def _members(path: str | Path, content: bytes) -> list[tuple[str, bytes]]:
    """Return names and contents of the ROIs in an archive; the unpacked size is limited."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [
                member
                for member in archive.infolist()
                if member.filename.lower().endswith(".roi")
                and not member.filename.startswith("__MACOSX")
            ]
            total = sum(member.file_size for member in members)
            if total > MAX_BYTES:
                raise ValueError(f"it unpacks to {total >> 20} MB, at most {MAX_BYTES >> 20} MB")
            if not members:
                raise ValueError("it holds no .roi")
            return [(member.filename, archive.read(member)) for member in members]
    except Exception as error:  # a broken archive raises errors of zlib, zipfile or struct
        raise ImageError(
            str(path), f"is not a ROI set: {error}", "Save it again from ImageJ's ROI Manager."
        ) from error


def _parse(data: bytes) -> ImagejRoi:
    from roifile import ImagejRoi

    return ImagejRoi.frombytes(data)


def _polygons(roi: ImagejRoi) -> list[Polygon]:
    """Return the area of a ROI.

    Raises
    ------
    ValueError
        It has no area.
    """
    from roifile import ROI_SUBTYPE, ROI_TYPE

    z = (roi.z_position or roi.position) - 1
    plane = z if z >= 0 else None
    if roi.subtype in (ROI_SUBTYPE.TEXT, ROI_SUBTYPE.IMAGE, ROI_SUBTYPE.ARROW):
        raise ValueError(f"{roi.subtype.name.lower()} has no area")
    if roi.composite:
        return _composite([_outline(ring) for ring in roi.coordinates(multi=True)], plane)
    if roi.roitype in (ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED):
        return [Polygon(_outline(np.asarray(roi.coordinates())), (), plane)]
    if roi.roitype not in (ROI_TYPE.RECT, ROI_TYPE.OVAL):
        raise ValueError(f"{roi.roitype.name.lower()} has no area")
    box = np.array([roi.top, roi.left, roi.bottom, roi.right], np.float64)
    if roi.subpixelrect:
        box = np.array([roi.yd, roi.xd, roi.yd + roi.heightd, roi.xd + roi.widthd], np.float64)
    size = box[2:] - box[:2]
    arc = size if roi.roitype == ROI_TYPE.OVAL else np.minimum(size, roi.rounded_rect_arc_size)
    return [Polygon(_rounded_box(box, arc) - CORNER_OFFSET, (), plane)]


def _rounded_box(box: np.ndarray, arc: np.ndarray) -> np.ndarray:
    """Return the outline of a box (top, left, bottom, right) with corners of diameter `arc`.

    An oval is a box whose corners have the diameter of its sides. Chords deviate from the arc by
    less than 0.01 pixels.
    """
    steps = min(8 + int(4 * np.sqrt(arc.max())), 10_000) if arc.all() else 1
    angle = np.linspace(0, np.pi / 2, steps)
    quarters = []
    for turn, (y, x) in enumerate(((1, 1), (1, -1), (-1, -1), (-1, 1))):
        towards = np.stack([np.sin(angle + turn * np.pi / 2), np.cos(angle + turn * np.pi / 2)], 1)
        corner = np.where([y > 0, x > 0], box[2:], box[:2])
        quarters.append(corner + arc / 2 * (towards - (y, x)))
    return np.concatenate(quarters)


def _outline(coordinates: np.ndarray) -> np.ndarray:
    """Return (y, x) from pixel centres, not closed, of ImageJ's (x, y) from pixel corners."""
    return open_ring(coordinates[:, ::-1].astype(np.float64) - CORNER_OFFSET)


def _composite(rings: list[np.ndarray], z: int | None) -> list[Polygon]:
    """Return polygons of the area that an odd number of rings encloses.

    The rings are filled and outlined again: "Create Selection" makes composites of thousands.

    Raises
    ------
    ValueError
        The bounding box is larger than `_MAX_PIXELS`.
    """
    lows = np.array([np.floor(ring.min(axis=0)) for ring in rings])
    highs = np.array([np.floor(ring.max(axis=0)) + 1 for ring in rings])
    corner = lows.min(axis=0)
    size = highs.max(axis=0) - corner
    if not 0 < size.prod() <= _MAX_PIXELS:
        raise ValueError(f"its composite spans {size.prod():.0f} pixels, at most {_MAX_PIXELS}")
    mask = np.zeros(size.astype(int), bool)
    for ring, low, high in zip(rings, lows, highs, strict=True):
        (top, left), (bottom, right) = (low - corner).astype(int), (high - corner).astype(int)
        window = mask[top:bottom, left:right]
        window ^= fill_outline(ring - low, window.shape)
    return [
        Polygon(piece.exterior + corner, tuple(hole + corner for hole in piece.holes), z)
        for piece in mask_to_polygons(mask)
    ]
