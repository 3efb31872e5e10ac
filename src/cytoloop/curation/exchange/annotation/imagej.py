"""ImageJ: a set of regions of interest for each picture, as its ROI Manager opens and saves it."""

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
    Drawn,
    draw_picture,
    objects_of,
    polygon_places,
)
from cytoloop.curation.exchange.annotation.picture import Picture
from cytoloop.curation.exchange.annotation.project_files import (
    image_shape,
    read_all,
    read_number,
    write_bytes,
    write_gray,
)
from cytoloop.errors import ImageError, ManifestError
from cytoloop.truth.regions import mask_to_polygons
from cytoloop.truth.regions.imagej import read_named_rois
from cytoloop.truth.regions.vertices import CORNER

if TYPE_CHECKING:
    from roifile import ImagejRoi

NAME = "imagej"
_IMAGES = (".png", ".tif", ".tiff", ".ome.tif", ".ome.tiff")
_MOVE, _LINE, _CLOSE = 0, 1, 4  # of a path, as ImageJ stores composites


def write_pictures(folder: Path, pictures: Iterable[Picture], title: str = "object") -> None:
    """Write ``NAME.png`` and ``NAME.zip`` for each picture.

    Parameters
    ----------
    folder : Path
        Exists and is empty.
    pictures : iterable of Picture
        Taken one at a time. An empty file ``NAME.done`` says that one is done.
    title : str
        ROIs are called by it and the number of their object, ``object_0012``.

    Raises
    ------
    ImageError
        A picture without an image.
    """
    for picture in pictures:
        write_gray(folder / f"{picture.name}.png", picture)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for number, corner, mask in objects_of(picture.labels):
                name = f"{title}_{number:04}"
                archive.writestr(f"{name}.roi", _roi(mask, corner, name).tobytes())
        write_bytes(folder / f"{picture.name}.zip", packed.getvalue())
        if picture.done:
            (folder / f"{picture.name}.done").touch()


def is_project(path: Path) -> bool:
    """Tell whether a path is a folder with a ROI set and the picture of its name beside it."""
    return any(_image(file) is not None for file in path.glob("*.zip"))


def read_pictures(path: Path, title: str | None = None) -> Iterator[Picture]:
    """Read the ROI sets of a folder, without the images beside them.

    ROIs of one number are one object; ImageJ tells ROIs of one name apart by an ending of its
    own, ``object_0012-1``. ROIs of other names are objects drawn anew.

    Parameters
    ----------
    path : Path
        The folder.
    title : str, optional
        What the names of numbered ROIs begin with, before ``_``; default whatever they have.

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
    return read_all(path, files, partial(_read, pattern=pattern))


def _image(file: Path) -> Path | None:
    beside = (file.with_name(file.name[: -len(".zip")] + suffix) for suffix in _IMAGES)
    return next((image for image in beside if image.is_file()), None)


def _read(file: Path, pattern: re.Pattern[str]) -> Picture:
    image = _image(file)
    if image is None:
        raise ImageError(file.name, f"has no picture beside it: {', '.join(_IMAGES)}")
    try:
        shape = image_shape(image)
        rois = read_named_rois(file) if _holds_rois(file) else []
    except ValueError as error:
        problems = error.problems if isinstance(error, ImageError) else [str(error)]
        raise ImageError(file.name, problems) from error
    drawn, problems = [], []
    for entry, polygons in rois:
        name = entry.removesuffix(".roi")
        numbered = pattern.fullmatch(name)
        try:
            number = read_number(int(numbered[1][:12])) if numbered else None
            if slices := {p.z + 1 for p in polygons if p.z}:
                raise ValueError(f"lies in slice {max(slices)}, but the picture is flat")
            drawn.append(Drawn(name, number, polygons))
        except ValueError as error:
            problems.append(f"{name}: {error}")
    name, done = file.name[: -len(".zip")], file.with_suffix(".done").is_file()
    return draw_picture(
        file.name, name, shape, drawn, partial(polygon_places, shape=shape), done, problems
    )


def _holds_rois(file: Path) -> bool:
    """Tell a set from the empty archive of a picture without objects."""
    try:
        with zipfile.ZipFile(file) as archive:
            return bool(archive.namelist())
    except Exception:  # whatever is wrong with it, reading it says so
        return True


def _roi(mask: np.ndarray, corner: tuple[int, int], name: str) -> ImagejRoi:
    """Return the outline of an object; a composite if it has holes or several pieces."""
    from roifile import ROI_TYPE, ImagejRoi

    rings = [
        (ring + corner + CORNER)[:, ::-1]
        for polygon in mask_to_polygons(mask)
        for ring in (polygon.exterior, *polygon.holes)
    ]
    if len(rings) == 1:
        return ImagejRoi.frompoints(rings[0].astype(np.float32), name=name)
    path = np.concatenate([_path(ring) for ring in rings]).astype(np.float32)
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


def _path(ring: np.ndarray) -> np.ndarray:
    """Return a ring (vertices, 2) as steps of a path: its kind, x, y."""
    steps = np.column_stack([np.full(len(ring), _LINE), ring])
    steps[0, 0] = _MOVE
    return np.append(steps.ravel(), _CLOSE)
