"""Threshold, seeds and sizes of stored maps, tried on one image without the network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cytoloop.errors import ConfigError, ImageError, ManifestError
from cytoloop.inference.postprocess.instance_rule import instance_rule
from cytoloop.inference.postprocess.segment_maps import segment_maps
from cytoloop.inference.postprocess.settings import PostprocessSettings
from cytoloop.inference.postprocess.training_facts import TrainingFacts
from cytoloop.inference.settings import MAPS
from cytoloop.inference.windows.object_scale import facts_of_row
from cytoloop.instances.blocks import in_memory
from cytoloop.io.read import read_header
from cytoloop.io.voxel_size import Spacing
from cytoloop.manifest import Row, read_manifest
from cytoloop.truth.targets import read_raw
from cytoloop.viewer.session.images import contrast_limits
from cytoloop.viewer.session.large import open_raw
from cytoloop.viewer.session.lazy import LazyImage, Voxels, lazy_channels, open_image

_BLOCK_VOXELS = 2_000_000
"""Up to so many voxels, the whole image is segmented; of a larger one the visible slice."""


@dataclass(frozen=True, eq=False)
class StoredMaps:
    """The probability maps of one image.

    Attributes
    ----------
    id : str
    maps : mapping of str to ndarray
        ``probability``; ``distance``, ``contour`` and ``brightness`` where they are stored:
        ([Z,] Y, X), 0..255 (uint8) or 0..1 (float).
    raw : sequence or None
        Channels ([Z,] Y, X).
    labels : ndarray or LazyImage or None
        ([Z,] Y, X): the objects as they are stored.
    spacing_um : tuple of float or None
    training : TrainingFacts
    contrast : tuple of (float, float)
        Grey levels to show as black and white, of each channel of raw.
    """

    id: str
    maps: Mapping[str, Voxels]
    raw: Sequence[Voxels] | None
    labels: Voxels | None
    spacing_um: Spacing | None
    training: TrainingFacts
    contrast: tuple[tuple[float, float], ...] = ()


def read_rows(table: str | Path) -> list[Row]:
    """Return the rows of a ``predictions.csv``.

    Raises
    ------
    ManifestError
        It is no table of predictions.
    """
    rows = list(read_manifest(table, ("id",)))
    if not rows:
        raise ManifestError(str(table), "has no predictions", "Predict images first.")
    return rows


def load_maps(row: Row) -> StoredMaps:
    """Return the stored maps of a row of a ``predictions.csv``.

    Raises
    ------
    ImageError
        The row failed, has no probability map, or a file cannot be read.
    """
    if row["status"] == "failed":
        raise ImageError(row.id, f"was not predicted: {row['reason']}", "Predict it again.")
    if not row["probability"]:
        raise ImageError(
            row.id, "has no probability map", "Predict with save=[probability,labels]."
        )
    probability = row.file("probability") or Path()
    maps = {name: open_image(row.file(name) or Path())[0] for name in MAPS if row[name]}
    labels = row.file("labels")
    raw = row.file("raw") if row["raw"] else None
    pixels: Sequence[Voxels] | None = None
    if raw is not None and raw.exists():
        is_large = isinstance(maps["probability"], LazyImage)
        pixels = lazy_channels(open_raw(row)) if is_large else list(read_raw(row).data)
    spacing = row.spacing_um or read_header(probability).spacing_um
    return StoredMaps(
        row.id,
        maps,
        pixels,
        None if labels is None else open_image(labels)[0],
        spacing,
        facts_of_row(TrainingFacts.read(row.root), row, spacing),
        () if pixels is None else tuple(contrast_limits(channel) for channel in pixels),
    )


def try_settings(
    stored: StoredMaps, settings: Mapping[str, float], plane: int
) -> tuple[np.ndarray, slice]:
    """Return the objects that these settings give, and the planes that they cover.

    Parameters
    ----------
    stored : StoredMaps
    settings : mapping of str to float
        ``threshold``, ``min_depth``, ``min_volume_um3`` ...
    plane : int
        The visible slice; it alone is segmented where the image is large.

    Returns
    -------
    labels : ndarray of unsigned integers
        (planes, Y, X), or (Y, X) of a 2D image.
    planes : slice
        Of the image.
    """
    chosen = PostprocessSettings.from_config(dict(settings))
    probability = stored.maps["probability"]
    if probability.ndim == 2 and isinstance(probability, LazyImage):
        raise ConfigError(
            stored.id,
            f"{probability.size / 1e6:.0f} million pixels are too many to try values on",
            "Choose a smaller image, or press Apply to all images.",
        )
    spacing = stored.spacing_um
    if probability.ndim == 2 or probability.size <= _BLOCK_VOXELS:
        planes = slice(0, len(probability) if probability.ndim == 3 else 1)
        maps = {name: np.asarray(one) for name, one in stored.maps.items()}
    else:
        planes = slice(plane, plane + 1)
        maps = {name: stored_map[plane] for name, stored_map in stored.maps.items()}
        # volumes of 3D objects say nothing about their cross-sections
        without = {k: v for k, v in settings.items() if not k.endswith("_volume_um3")}
        chosen = PostprocessSettings.from_config({**without, "min_volume_um3": 0.0})
    found = segment_maps(maps, spacing, chosen, stored.training, in_memory, with_mask=False)
    labels = np.asarray(found.volumes.get("labels", found.volumes.get("mask")))
    return (labels[None] if labels.ndim < probability.ndim else labels), planes


def tuned_settings(stored: StoredMaps) -> dict[str, float]:
    """Return the settings that training chose, as the sliders start with them."""
    chosen = PostprocessSettings().resolve_tuned(stored.training.tuned)
    ndim = stored.maps["probability"].ndim
    rule = instance_rule(chosen, float(chosen.threshold), stored.spacing_um, stored.training, ndim)
    voxel = math.prod(stored.spacing_um[-ndim:]) if stored.spacing_um else 1.0
    return {
        "min_volume_um3": round(rule.min_voxels * voxel, 2),
        "threshold": float(chosen.threshold),
        "seed_smoothing": float(chosen.seed_smoothing),
        "min_depth": float(chosen.min_depth),
        "grow_um": float(chosen.grow_um),
        "grow_z_um": float(chosen.grow_z_um),
        "haze": float(chosen.haze),
    }
