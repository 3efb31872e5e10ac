"""OME-Zarr 0.1 to 0.5, a folder or a zip: images, collections, plates, wells, labels."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.storage import ZipStore

from cytoloop.errors import ImageError
from cytoloop.io.axes import UNKNOWN
from cytoloop.io.notes import note
from cytoloop.io.readers.scene import Scene, check_memory
from cytoloop.io.voxel_size import StatedSize

_AXES_BEFORE_0_4 = "TCZYX"
_MAX_IMAGES = 100_000


@dataclass(frozen=True)
class _Image:
    """A multiscale image: the path of its group in the store, and its metadata."""

    name: str
    path: str
    group: Any
    multiscale: Mapping[str, Any]
    channels: tuple[str, ...]


class Reader:
    """Reader of OME-Zarr, see `cytoloop.io.readers.scene.ImageReader`.

    The scenes are the images of a group, the series that bioformats2raw and NGFF-Converter write,
    the fields of a plate or well (``A/1/0``), or the labels of a group of labels. The labels of an
    image are scenes that are not listed: ``labels/NAME``, ``A/1/0/labels/NAME``.

    Parameters
    ----------
    path : str or Path
        A folder with the ending ``.zarr`` or inside such a folder, or a zip of one.

    Raises
    ------
    ImageError
        The store holds no image.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = path
        self._store: Any = ZipStore(path, mode="r") if Path(path).is_file() else str(path)
        self._root: Any = _open_root(self._store)
        self._images = list(_find_images(path, self._root))
        if not self._images:
            raise ImageError(
                str(path),
                "holds no image: no multiscales, no plate and no series in its metadata",
                "Give the OME-Zarr folder itself, which holds .zattrs or zarr.json.",
            )
        self.scenes = tuple(image.name for image in self._images)

    def close(self) -> None:
        """Close a zip; a folder is never kept open."""
        if isinstance(self._store, ZipStore):
            self._store.close()

    def find_hidden(self, name: str) -> int | None:
        """Return the number of a scene that is not listed, a label image; None if there is none."""
        group = re.sub(r"/?labels/[^/]+$", "", name)
        owners = [image for image in self._images if image.name == group]
        if not group and len(self._images) == 1:
            owners = self._images[:1]
        for owner in owners:
            try:
                found = owner.group[f"labels/{name.rpartition('/')[2]}"]
            except KeyError:
                continue
            self._images += _multiscales(found, name)[:1]
            return len(self._images) - 1
        return None

    def count_levels(self, scene: int) -> int:
        """Return the number of pyramid levels."""
        return max(len(self._images[scene].multiscale.get("datasets", ())), 1)

    def open(self, scene: int, level: int) -> Scene:
        """Return an image at a pyramid level."""
        image = self._images[scene]
        if isinstance(image.group, zarr.Array):
            return Scene(array=image.group, axes=_unnamed(image.group.ndim))
        dataset = image.multiscale["datasets"][level]
        array = image.group[str(dataset["path"])]
        check_memory(self._path, math.prod(array.chunks) * array.dtype.itemsize)
        stated = image.multiscale.get("axes") or []
        if stated:
            names = [str(a.get("name") if isinstance(a, Mapping) else a) for a in stated]
            axes = "".join(_letter(a, name) for a, name in zip(stated, names, strict=True))
            units = [a.get("unit") if isinstance(a, Mapping) else None for a in stated]
        else:
            axes = _AXES_BEFORE_0_4[-array.ndim :]
            units = [None] * array.ndim
        if len(axes) != array.ndim:
            raise ImageError(
                str(self._path),
                f"its metadata name {len(axes)} axes ({axes}), but the array has {array.ndim}",
                "Export it again.",
            )
        scale, origin = _placement(dataset, image.multiscale, len(axes))
        return Scene(
            array=array,
            axes=axes,
            channels=image.channels,
            sizes=self._sizes(axes, scale, units),
            origin=_by_axis(axes, origin, units),
        )

    def _sizes(
        self, axes: str, scale: list[float] | None, units: list[str | None]
    ) -> dict[str, StatedSize]:
        """Return the voxel size; a scale of 1 without a unit is no voxel size."""
        if scale is None:
            return {}
        spatial = [i for i, axis in enumerate(axes) if axis in "ZYX"]
        if all(units[i] is None for i in spatial):
            if all(scale[i] == 1 for i in spatial):
                return {}
            note(self._path, "states voxel sizes without a unit: they are taken for um")
        return _by_axis(axes, scale, units)


def _open_root(store: Any) -> Any:
    """Return the group or array of a store; in a zip it may lie one folder deep."""
    try:
        return zarr.open(store, mode="r")
    except (FileNotFoundError, KeyError):
        if not isinstance(store, ZipStore):
            raise
    import zipfile

    with zipfile.ZipFile(str(store.path)) as file:
        tops = {name.split("/")[0] for name in file.namelist()}
    if len(tops) != 1:
        raise ImageError(str(store.path), "is not a zipped Zarr", "Zip the content of the folder.")
    return zarr.open(store, path=tops.pop(), mode="r")


def _find_images(path: str | Path, root: Any) -> Iterator[_Image]:
    """Yield the images of a store, in the order in which they are listed."""
    if isinstance(root, zarr.Array):
        yield _Image("Image:0", "", root, {}, ())
        return
    metadata = _metadata(root)
    if "multiscales" in metadata:
        yield from _multiscales(root)
    elif "plate" in metadata:
        for well in metadata["plate"]["wells"][:_MAX_IMAGES]:
            yield from _fields(root[str(well["path"])], f"{well['path']}/")
    elif "well" in metadata:
        yield from _fields(root, "")
    elif "labels" in metadata:
        for name in metadata["labels"]:
            yield from _multiscales(root[str(name)], str(name))[:1]
    else:
        for name in _series_of(root, metadata):
            yield from _multiscales(root[name], name)[:1]


def _fields(well: Any, prefix: str) -> Iterator[_Image]:
    for field in _metadata(well).get("well", {}).get("images", ()):
        yield from _multiscales(well[str(field["path"])], f"{prefix}{field['path']}")[:1]


def _series_of(root: Any, metadata: Mapping[str, Any]) -> list[str]:
    """Return the groups of the series of a collection by bioformats2raw."""
    if "OME" in root and (listed := _metadata(root["OME"]).get("series")):
        return [str(name) for name in listed]
    groups = sorted((name for name, _ in root.groups() if name.isdigit()), key=int)
    if "bioformats2raw.layout" in metadata:
        return groups
    return [name for name in groups if "multiscales" in _metadata(root[name])]


def _multiscales(group: Any, name: str = "") -> list[_Image]:
    metadata = _metadata(group)
    found = metadata.get("multiscales", ())
    names = [str(one.get("name") or "") for one in found]
    if not all(names) or len(set(names)) < len(names):
        names = [f"Image:{i}" for i in range(len(found))]
    channels = (metadata.get("omero") or {}).get("channels") or ()
    labels = tuple(str(channel.get("label") or i) for i, channel in enumerate(channels))
    return [
        _Image(name or own, group.path, group, one, labels)
        for own, one in zip(names, found, strict=True)
    ]


def _metadata(group: Any) -> Mapping[str, Any]:
    """Return the OME metadata of a group: they lie in ``ome`` since version 0.5."""
    attributes = group.attrs.asdict()
    found = attributes.get("ome", attributes)
    return found if isinstance(found, Mapping) else json.loads(str(found))


def _letter(axis: Any, name: str) -> str:
    """Return the letter of an axis; its type tells an unusual name of a channel or time."""
    if len(name) == 1 and name.upper() in "TCZYX":
        return name.upper()
    kind = axis.get("type") if isinstance(axis, Mapping) else None
    return {"channel": "C", "time": "T"}.get(str(kind), name[:1].upper() or UNKNOWN)


def _unnamed(ndim: int) -> str:
    return UNKNOWN * (ndim - 2) + "YX"


def _placement(
    dataset: Mapping[str, Any], multiscale: Mapping[str, Any], ndim: int
) -> tuple[list[float] | None, list[float]]:
    """Return scale and origin of a level.

    The transformations of the level are applied before those of the whole pyramid (NGFF 0.4,
    section 3.4).
    """
    scale, origin = np.ones(ndim), np.zeros(ndim)
    is_stated = False
    for owner in (dataset, multiscale):
        for transform in owner.get("coordinateTransformations") or ():
            if not isinstance(transform, Mapping):
                continue
            if "scale" in transform:
                factors = np.asarray(transform["scale"], float)
                scale, is_stated = scale * factors, True
                # no product of zero and an infinite factor
                origin = np.multiply(origin, factors, out=np.zeros(ndim), where=origin != 0)
            if "translation" in transform:
                origin = origin + np.asarray(transform["translation"], float)
    return (scale.tolist() if is_stated else None), origin.tolist()


def _by_axis(axes: str, values: list[float], units: list[str | None]) -> dict[str, StatedSize]:
    stated = zip(axes, values, units, strict=True)
    return {axis: (value, unit) for axis, value, unit in stated if axis in "ZYX"}
