"""ImageJ format: for each picture a PNG and a ROI set of its objects, for the ROI Manager."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cytoloop.curation.exchange.annotation.objects import (
    DrawnObject,
    iter_objects,
    paint_picture,
    polygon_indices,
)
from cytoloop.curation.exchange.annotation.picture import Picture
from cytoloop.curation.exchange.annotation.project_files import (
    parse_number,
    read_checked,
    read_image_shape,
    write_bytes,
    write_png,
)
from cytoloop.errors import ImageError, ManifestError
from cytoloop.truth.regions import mask_to_polygons
from cytoloop.truth.regions.imagej import read_named_rois
from cytoloop.truth.regions.parse import CORNER_OFFSET

if TYPE_CHECKING:
    from roifile import ImagejRoi

_IMAGES = (".png", ".tif", ".tiff", ".ome.tif", ".ome.tiff")
_MOVE, _LINE, _CLOSE = 0, 1, 4  # path segments of a composite ROI (java.awt.geom.PathIterator)


def write(folder: Path, pictures: Iterable[Picture], title: str = "object") -> None:
    """Write ``NAME.png`` and ``NAME.zip`` for each picture.

    An empty file ``NAME.done`` marks a picture as done.

    Parameters
    ----------
    folder : Path
        An existing empty folder.
    pictures : iterable of Picture
        Consumed one at a time.
    title : str
        First part of the ROI names. The second is the number of the object: ``object_0012``.

    Raises
    ------
    ImageError
        A picture has no image.
    """
    for picture in pictures:
        write_png(folder / f"{picture.name}.png", picture)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for number, corner, mask in iter_objects(picture.labels):
                name = f"{title}_{number:04}"
                archive.writestr(f"{name}.roi", _make_roi(mask, corner, name).tobytes())
        write_bytes(folder / f"{picture.name}.zip", packed.getvalue())
        if picture.done:
            (folder / f"{picture.name}.done").touch()


def is_project(path: Path) -> bool:
    """Return whether a path is a folder with a ROI set and the image of the same name."""
    return any(_find_image(file) is not None for file in path.glob("*.zip"))


def read(path: Path, title: str | None = None) -> Iterator[Picture]:
    """Return the pictures of a folder of ROI sets, without their images.

    ROIs with the same number are one object, also with the ending that ImageJ adds to repeated
    names: ``object_0012-1``. ROIs with other names are new objects.

    Parameters
    ----------
    path : Path
        The folder.
    title : str, optional
        What names of numbered ROIs start with, before ``_``. Default: anything.

    Returns
    -------
    iterator of Picture
        Decoded one at a time.

    Raises
    ------
    ManifestError
        All faults of the folder.
    """
    files = sorted(path.glob("*.zip"))
    if not files:
        raise ManifestError(str(path), "holds no ROI set (.zip)", "Name the folder of the sets.")
    prefix = ".+" if title is None else re.escape(title)
    pattern = re.compile(rf"(?:{prefix})_([0-9]+)(?:-[0-9]+)?")
    return read_checked(path, files, partial(_read_picture, pattern=pattern))


def _find_image(file: Path) -> Path | None:
    """Return the image of a ROI set, None if there is none."""
    images = (file.with_name(file.name[: -len(".zip")] + suffix) for suffix in _IMAGES)
    return next((image for image in images if image.is_file()), None)


def _read_picture(file: Path, pattern: re.Pattern[str]) -> Picture:
    image = _find_image(file)
    if image is None:
        raise ImageError(file.name, f"has no image beside it: {', '.join(_IMAGES)}")
    try:
        shape = read_image_shape(image)
        rois = [] if _is_empty_archive(file) else read_named_rois(file)
    except ValueError as error:
        problems = error.problems if isinstance(error, ImageError) else [str(error)]
        raise ImageError(file.name, problems) from error
    objects, problems = [], []
    for entry, polygons in rois:
        name = entry.removesuffix(".roi")
        numbered = pattern.fullmatch(name)
        try:
            number = parse_number(int(numbered[1][:12])) if numbered else None
            if slices := {p.z + 1 for p in polygons if p.z}:
                raise ValueError(f"is in slice {max(slices)}, but the picture is 2D")
            objects.append(DrawnObject(name, number, polygons))
        except ValueError as error:
            problems.append(f"{name}: {error}")
    name, done = file.name[: -len(".zip")], file.with_suffix(".done").is_file()
    to_indices = partial(polygon_indices, shape=shape)
    return paint_picture(file.name, name, shape, objects, to_indices, done, problems)


def _is_empty_archive(file: Path) -> bool:
    """Return whether a file is a valid zip without members: a picture without objects."""
    try:
        with zipfile.ZipFile(file) as archive:
            return not archive.namelist()
    except Exception:  # damaged files are reported when the ROIs are read
        return False


def _make_roi(mask: np.ndarray, corner: tuple[int, int], name: str) -> ImagejRoi:
    """Return the outline of an object: a polygon, or a composite if it has holes or pieces.

    Parameters
    ----------
    mask : ndarray of bool
        (Y, X).
    corner : tuple of int
        (Y, X) of its first pixel in the picture.
    name : str
        Name of the ROI.
    """
    from roifile import ROI_TYPE, ImagejRoi

    rings = [
        (ring + corner + CORNER_OFFSET)[:, ::-1]
        for polygon in mask_to_polygons(mask)
        for ring in (polygon.exterior, *polygon.holes)
    ]
    if len(rings) == 1:
        return ImagejRoi.frompoints(rings[0].astype(np.float32), name=name)
    path = np.concatenate([_path_segments(ring) for ring in rings]).astype(np.float32)
    low, high = np.floor(np.concatenate(rings).min(axis=0)), np.concatenate(rings).max(axis=0)
    return ImagejRoi(
        roitype=ROI_TYPE.RECT,
        name=name,
        left=int(low[0]),
        top=int(low[1]),
        right=int(np.ceil(high[0])),
        bottom=int(np.ceil(high[1])),
        shape_roi_size=len(path),
        multi_coordinates=path,
    )


def _path_segments(ring: np.ndarray) -> np.ndarray:
    """Return a ring (vertices, 2) as the segments of a path: type, x, y, ..., close."""
    segments = np.column_stack([np.full(len(ring), _LINE), ring])
    segments[0, 0] = _MOVE
    return np.append(segments.ravel(), _CLOSE)
