"""Images of the queue in memory: read once, in a thread, with the next one read ahead."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cytoloop.curation.decisions.latest import Decision
from cytoloop.curation.region_masks import Regions, draw_masks
from cytoloop.curation.row_cells import regions_of_row, replace_segmentation
from cytoloop.errors import ImageError
from cytoloop.io.labels import read_labels
from cytoloop.io.read import read_image
from cytoloop.io.voxel_size import Spacing
from cytoloop.manifest import Row, read_manifest
from cytoloop.truth.regions import merge_segmentations
from cytoloop.truth.targets import read_labelled, read_raw
from cytoloop.viewer.session.dataset import Dataset, QueueEntry
from cytoloop.viewer.session.large import LargeTarget, is_large, open_labels, open_raw
from cytoloop.viewer.session.lazy import LazyImage, Voxels, lazy_channels

_LIMIT_BYTES = 2 << 30
"""Images that are kept in memory, at most; at least the present one and its neighbour."""


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """The pixels of a row.

    Attributes
    ----------
    id : str
    raw : sequence of ndarray or LazyImage
        Channels ([Z,] Y, X).
    channels : tuple of str
    spacing_um : tuple of float or None
        (Z, Y, X).
    contrast : tuple of (float, float)
        Grey levels to show as black and as white, of each channel.
    segmentations : mapping of str to ndarray or LazyImage
        ``seg1``, ``seg2``: ([Z,] Y, X) unsigned integers.
    labelled : mapping of str to ndarray of bool
        Same keys: where somebody labelled; empty of a large image.
    predicted : ndarray, LazyImage or None
        ([Z,] Y, X): labels of a model.
    """

    id: str
    raw: Sequence[Voxels] | np.ndarray
    channels: tuple[str, ...]
    spacing_um: Spacing | None
    contrast: tuple[tuple[float, float], ...]
    segmentations: Mapping[str, Voxels]
    labelled: Mapping[str, np.ndarray]
    predicted: Voxels | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape ([Z,] Y, X)."""
        return tuple(self.raw[0].shape)

    @property
    def is_large(self) -> bool:
        """Whether the voxels stay on disk."""
        return isinstance(self.raw[0], LazyImage)

    @property
    def nbytes(self) -> int:
        """Memory of all pixels."""
        parts = [*self.segmentations.values(), *self.labelled.values(), *self.raw, self.predicted]
        return sum(part.nbytes for part in parts if isinstance(part, np.ndarray))


@dataclass(frozen=True, eq=False)
class ImageState:
    """What training would learn from an image, with the present decisions.

    Attributes
    ----------
    target : ndarray or LazyImage of uint32
        ([Z,] Y, X).
    excluded, merged : ndarray or LazyImage of bool
        Same shape.
    """

    target: Voxels
    excluded: Voxels
    merged: Voxels


def load_image(entry: QueueEntry, predicted: Row | None = None) -> LoadedImage:
    """Return the pixels of an image of the queue.

    Raises
    ------
    ImageError, ManifestError
        A file cannot be read, or shapes differ.
    """
    row = entry.row
    if is_large(row):
        return _load_large(entry.id, row, predicted)
    image = read_raw(row)
    found = {name: read_labelled(row, name) for name in ("seg1", "seg2") if row[name]}
    for name, (labels, _) in found.items():
        _check_shape(row, name, labels.shape, image.data.shape[1:])
    prediction = None
    if predicted is not None:
        prediction = _read_prediction(predicted, image.data.shape[1:])
    return LoadedImage(
        entry.id,
        image.data,
        image.channels,
        row.spacing_um or image.spacing_um,
        tuple(contrast_limits(channel) for channel in image.data),
        {name: labels for name, (labels, _) in found.items()},
        {name: labelled for name, (_, labelled) in found.items()},
        prediction,
    )


def _load_large(row_id: str, row: Row, predicted: Row | None) -> LoadedImage:
    """Return an image whose voxels stay on disk; what napari shows first is read."""
    pixels = open_raw(row)
    raw = lazy_channels(pixels)
    shape = raw[0].shape
    found = {name: open_labels(row, name) for name in ("seg1", "seg2") if row[name]}
    for name, labels in found.items():
        _check_shape(row, name, labels.shape, shape)
    prediction = None
    if predicted is not None:
        prediction = open_labels(predicted, "labels" if predicted["labels"] else "mask")
        prediction = prediction if prediction.shape == shape else None
    contrast = tuple(contrast_limits(channel) for channel in raw)
    spacing = row.spacing_um or pixels.spacing_um
    return LoadedImage(row_id, raw, pixels.channels, spacing, contrast, found, {}, prediction)


def _check_shape(row: Row, name: str, found: tuple[int, ...], raw: tuple[int, ...]) -> None:
    if found != raw:
        raise ImageError(
            row.where(name),
            f"shape {found} but the raw image is {raw}",
            "Reject this image, or give the segmentation of this image.",
        )


def contrast_limits(channel: Voxels) -> tuple[float, float]:
    """Return the grey levels to show as black and white: percentiles 0.5 and 99.8 of a sample.

    Of an image on disk, the sample is its middle plane.
    """
    if isinstance(channel, LazyImage):
        channel = channel.middle_plane()
    step = max(1, round((channel.size / 1e6) ** (1 / channel.ndim)))
    sample = channel[(slice(None, None, step),) * channel.ndim]
    low, high = (float(value) for value in np.percentile(sample, (0.5, 99.8)))
    return (low, high) if high > low else (low, low + 1)


def image_state(image: LoadedImage, row: Row, decision: Decision, dataset: Dataset) -> ImageState:
    """Return target and regions of an image as `cytoloop curate` would make them now.

    Raises
    ------
    ImageError, ConfigError
        A region or corrected labels cannot be read.
    """
    if image.is_large:
        large = LargeTarget(row, decision, image.shape, image.spacing_um)
        parts = (large.target, large.excluded, large.merged)
        for part in parts:
            part.middle_plane()  # napari shows it first
        return ImageState(*parts)
    row = replace(row, values=dict(row.values))
    stated = regions_of_row(row)
    regions = Regions(
        (*stated.exclude, *dataset.rules, *decision.exclude), (*stated.merge, *decision.merge)
    ).effective()
    base = decision.base_image or row["base_image"] or "seg1"
    arrays = {name: np.asarray(one) for name, one in image.segmentations.items()}
    labels, labelled = arrays.get(base), image.labelled.get(base)
    if decision.labels:
        replace_segmentation(row, decision.labels)
        labels, labelled = read_labelled(row, "seg1")
        regions = Regions(regions.exclude)
    if labels is None or labelled is None:
        raise ImageError(f"{row.id}, {base}", "there is no such segmentation", "Choose the other.")
    other = arrays.get("seg2" if base == "seg1" else "seg1")
    masks = draw_masks(regions, np.asarray(image.raw), labels, image.shape, image.spacing_um)
    nothing = np.zeros(image.shape, bool)
    merged = nothing if masks.merge is None or other is None else masks.merge
    target = labels.astype(np.uint32)
    if other is not None and merged.any():
        rule = row["merge_rule"] or dataset.merge_rule
        target = merge_segmentations(labels, other, merged, rule).astype(np.uint32)
    excluded = nothing if masks.exclude is None else masks.exclude
    return ImageState(target, excluded | ~labelled, merged)


def find_predictions(table: str | Path) -> dict[str, Row]:
    """Return the rows of a ``predictions.csv`` by id, without those that failed.

    Raises
    ------
    ManifestError
        The table cannot be read.
    """
    rows = read_manifest(table, ("id",))
    return {row.id: row for row in rows if row["labels"] or row["mask"]}


def read_depth(row: Row) -> np.ndarray | None:
    """Return the distance map of a prediction, None where the model predicts none."""
    if not row["distance"]:
        return None
    return read_image(row.file("distance") or "").data[0]


class ImageCache:
    """Reads images in one thread and keeps the last ones.

    Parameters
    ----------
    load : callable
        Returns the pixels of an id.
    """

    def __init__(self, load: Callable[[str], LoadedImage]) -> None:
        self._load = load
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cytoloop-images")
        self._images: OrderedDict[str, Future[LoadedImage]] = OrderedDict()

    def request(self, row_id: str) -> Future[LoadedImage]:
        """Return the future image; it is read if it is not in memory."""
        known = self._images.get(row_id)
        if known is not None and known.done() and not known.cancelled() and known.exception():
            del self._images[row_id]  # the file may have been repaired
        if row_id not in self._images:
            self._images[row_id] = self._thread.submit(self._load, row_id)
        self._images.move_to_end(row_id)
        self._shrink()
        return self._images[row_id]

    def prefetch(self, row_id: str) -> None:
        """Read an image ahead, without making it the last used one."""
        if row_id not in self._images:
            self._images[row_id] = self._thread.submit(self._load, row_id)
            self._images.move_to_end(row_id, last=len(self._images) < 2)

    def forget(self) -> None:
        """Remove all images, for example when other predictions are shown."""
        for future in self._images.values():
            future.cancel()
        self._images.clear()

    def close(self) -> None:
        """End the thread after the image that it reads."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _shrink(self) -> None:
        def size(future: Future[LoadedImage]) -> int:
            is_read = future.done() and not future.cancelled() and future.exception() is None
            return future.result().nbytes if is_read else 0

        while len(self._images) > 2 and sum(map(size, self._images.values())) > _LIMIT_BYTES:
            self._images.popitem(last=False)[1].cancel()


def _read_prediction(row: Row, shape: tuple[int, ...]) -> np.ndarray | None:
    labels = read_labels(row.file("labels") or row.file("mask") or "")
    return labels if labels.shape == shape else None
