"""An image of the cache: image, target and sampling points, memory-mapped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.data.target_maps import TARGET_MAPS, fill_excluded
from cytoloop.intensity.normalization import IntensityStats, intensity_statistics, normalize
from cytoloop.intensity.preparation import Preparation
from cytoloop.io.atomic import replacing
from cytoloop.io.npy import open_npy
from cytoloop.io.pixels import MemoryPixels, read_whole
from cytoloop.truth.regions import instance_labels
from cytoloop.workers.local import run_parallel

METADATA = "entry.json"
"""File with the metadata of a cached image. It is written last: a folder with it is complete."""

_MAP_VERSION = 2
"""Increase when `cytoloop.data.target_maps` computes other values: cached maps are not reused."""

OPTIONAL_ARRAYS = ("valid", "valid_points")
"""Arrays that are stored only if voxels are excluded."""


@dataclass(frozen=True)
class CachedImage:
    """An image with its target.

    Attributes
    ----------
    id : str
        Id of the manifest row.
    image : ndarray
        (C, [Z,] Y, X) in the dtype of the file.
    labels : ndarray of unsigned integers
        ([Z,] Y, X), merged, in the smallest dtype that holds them.
    valid : ndarray of bool
        ([Z,] Y, X); False = excluded.
    object_points : ndarray of int32
        (N, ndim): some valid voxels of each object, object after object.
    object_starts : ndarray of int64
        (objects + 1,): object i has ``object_points[object_starts[i]:object_starts[i + 1]]``.
    valid_points : ndarray of int32 or None
        (N, ndim): random valid voxels; None if no voxel is excluded.
    spacing_um : tuple of float or None
        Voxel size (Z, Y, X) in um.
    folder : Path or None
        Folder in the cache; None for an image in memory.
    classes : bool
        The labels are classes, and `object_points` has those of each class.
    filters : str
        Digest of the filters that ``image`` went through; "" for none.
    """

    id: str
    image: np.ndarray
    labels: np.ndarray
    valid: np.ndarray
    object_points: np.ndarray
    object_starts: np.ndarray
    valid_points: np.ndarray | None = None
    spacing_um: tuple[float, float, float] | None = None
    folder: Path | None = None
    classes: bool = False
    filters: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """(Z, Y, X) or (Y, X)."""
        return self.labels.shape

    def intensity_stats(self, normalization: Mapping[str, Any]) -> IntensityStats:
        """Return the offset and scale of each channel that a normalisation uses.

        They are stored beside the image, so that the next run does not read all voxels again.

        Parameters
        ----------
        normalization : mapping
            See `cytoloop.intensity.normalization.intensity_statistics`.

        Returns
        -------
        offset, scale : ndarray of float32
            (C,).
        """
        if self.folder is None:
            return intensity_statistics(self.image, normalization)
        text = json.dumps(dict(normalization), sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()[:16]
        name += f"_{self.filters}" if self.filters else ""
        path = self.folder / f"intensity_stats_{name}.json"
        if not path.is_file():
            found = intensity_statistics(self.image, normalization)
            with replacing(path) as temporary:
                temporary.write_text(json.dumps([values.tolist() for values in found]))
        return tuple(np.asarray(each, np.float32) for each in json.loads(path.read_text()))

    def filtered_by(self, preparation: Preparation) -> CachedImage:
        """Return the image after the filters of a preparation, computed once and stored beside it.

        Raises
        ------
        ImageError
            A filter needs the voxel size, and it is unknown.
        """
        if not preparation.filters:
            return self
        digest = preparation.digest()

        def compute() -> np.ndarray:
            names = [str(number) for number in range(len(self.image))]
            pixels = MemoryPixels(self.image, self.spacing_um, names)
            return read_whole(preparation.filter(self.id, pixels)[0])

        return replace(self, image=self._stored(f"filtered_{digest}.npy", compute), filters=digest)

    def prepared(self, preparation: Preparation, normalization: Mapping[str, Any]) -> CachedImage:
        """Return the image filtered, normalised and prepared, computed once and stored beside it.

        Parameters
        ----------
        preparation : Preparation
        normalization : mapping
            See `cytoloop.intensity.normalization.intensity_statistics`.

        Returns
        -------
        CachedImage
            With ``image`` (C, [Z,] Y, X) float32.

        Raises
        ------
        ConfigError
            A step of the preparation fails.
        """
        filtered = self.filtered_by(preparation)

        def compute() -> np.ndarray:
            image = normalize(filtered.image, *filtered.intensity_stats(normalization))
            return preparation.apply(image)

        name = f"prepared_{preparation.digest(normalization)}.npy"
        return replace(filtered, image=self._stored(name, compute))

    def _stored(self, name: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """Return an array that is computed once and stored beside the image, if it has a folder."""
        if self.folder is None:
            return compute()
        path = self.folder / name
        if not path.is_file():
            computed = compute()
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.save(file, computed)
        return open_npy(path)

    def target_map(self, name: str) -> np.ndarray:
        """Return the target of a head, computed once and stored beside the image.

        Parameters
        ----------
        name : str
            One of `cytoloop.data.target_maps.TARGET_MAPS`.

        Returns
        -------
        ndarray of uint8
            ([Z,] Y, X), 0..255 for 0..1; memory-mapped if the image is in the cache.
        """
        path = None if self.folder is None else self.folder / f"{name}_{_MAP_VERSION}.npy"
        if path is None or not path.is_file():
            objects = instance_labels(fill_excluded(self.labels, self.valid, self.spacing_um))
            computed = TARGET_MAPS[name](objects, self.spacing_um)
            if path is None:
                return computed
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.save(file, computed)
        return open_npy(path)


def filtered_images(
    images: Sequence[CachedImage], preparation: Preparation
) -> Sequence[CachedImage]:
    """Return images after the filters of a preparation; several are filtered at a time."""
    found = dict(run_parallel(lambda one: one.filtered_by(preparation), images, threads=True))
    return [found[number] for number in range(len(images))]


def write_cached_image(
    folder: Path, metadata: Mapping[str, Any], arrays: Mapping[str, np.ndarray | None]
) -> None:
    """Write the arrays and the metadata of an image into an existing folder."""
    for name, array in arrays.items():
        if array is not None:
            np.save(folder / f"{name}.npy", np.ascontiguousarray(array))
    (folder / METADATA).write_text(json.dumps(dict(metadata)))


def open_cached_image(folder: Path, row_id: str) -> CachedImage:
    """Return a cached image, memory-mapped.

    Parameters
    ----------
    folder : Path
    row_id : str
        Id of the manifest row.
    """
    metadata = json.loads((folder / METADATA).read_text())

    def array(name: str) -> np.ndarray:
        return open_npy(folder / f"{name}.npy")

    labels = array("labels")
    has_excluded = all((folder / f"{name}.npy").is_file() for name in OPTIONAL_ARRAYS)
    spacing = metadata["spacing_um"]
    return CachedImage(
        id=row_id,
        image=array("image"),
        labels=labels,
        valid=array("valid") if has_excluded else np.broadcast_to(np.True_, labels.shape),
        object_points=np.asarray(array("object_points")),
        object_starts=np.asarray(array("object_starts")),
        valid_points=np.asarray(array("valid_points")) if has_excluded else None,
        spacing_um=tuple(spacing) if spacing else None,
        folder=folder,
        classes=bool(metadata.get("classes")),
    )


def size_in_bytes(folder: Path) -> int:
    """Return the size of a cached image's files; 0 if another run has just removed them."""
    try:
        return sum(path.stat().st_size for path in folder.iterdir())
    except FileNotFoundError:
        return 0
