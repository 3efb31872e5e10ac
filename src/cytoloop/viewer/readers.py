"""Files that can be dropped on napari: regions, tables; and saving of labels as a region."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.curation.file_names import DATASET_CSV, DECISIONS_CSV
from cytoloop.manifest import is_table, read_table
from cytoloop.truth.regions import is_outline, read_polygons, write_region
from cytoloop.viewer.session.layer_files import spacing_of

LayerData = tuple[Any, dict[str, Any], str]


def find_reader(path: str | list[str]) -> Callable[[Any], list[LayerData]] | None:
    """Return the reader of a file, None for a file of another kind."""
    first = path if isinstance(path, str) else path[0]
    if is_outline(first):
        return read_outlines
    if Path(first).name == DECISIONS_CSV and (Path(first).parent / DATASET_CSV).is_file():
        return read_decided
    if is_table(first) and {"raw"} & set(read_table(first)[1]):
        return read_rows
    return None


def read_outlines(path: str | list[str]) -> list[LayerData]:
    """Return a region file as a layer of shapes, in pixels."""
    first = path if isinstance(path, str) else path[0]
    polygons = read_polygons(first)
    is_3d = any(polygon.z is not None for polygon in polygons)
    shapes = []
    for polygon in polygons:
        plane = np.full((len(polygon.exterior), 1), float(polygon.z or 0))
        shapes.append(np.hstack([plane, polygon.exterior]) if is_3d else polygon.exterior)
    return [(shapes, {"name": Path(first).stem, "shape_type": "polygon"}, "shapes")]


def read_decided(path: str | list[str]) -> list[LayerData]:
    """Return the image of the last line of a decisions log: raw, target, what is excluded."""
    from cytoloop.curation.decisions.log import read_log
    from cytoloop.viewer.session.dataset import open_dataset
    from cytoloop.viewer.session.images import image_state, load_image
    from cytoloop.viewer.session.lazy import as_uint8

    first = Path(path if isinstance(path, str) else path[0])
    dataset = open_dataset(first.parent)
    known = {entry.id: entry for entry in dataset.entries}
    decided = [line["id"] for line in read_log(first) if line["id"] in known]
    entry = known[decided[-1]] if decided else dataset.entries[0]
    image = load_image(entry)
    state = image_state(image, entry.row, dataset.decision(entry.id), dataset)
    ndim = len(image.shape)
    scale = (1.0,) * ndim if image.spacing_um is None else tuple(image.spacing_um[-ndim:])
    unit = "pixel" if image.spacing_um is None else "um"
    common = {"scale": scale, "units": (unit,) * ndim}
    text = dataset.decision(entry.id).decision
    found: list[LayerData] = [
        _layer(channel, "image", name=f"{entry.id} {name}", blending="additive", **common)
        for name, channel in zip(image.channels, image.raw, strict=False)
    ]
    parts = {f"target ({text})": state.target, "excluded": as_uint8(state.excluded)}
    named = {f"{entry.id} {name}": labels for name, labels in parts.items()}
    return [*found, *(_layer(labels, "labels", name=n, **common) for n, labels in named.items())]


def _layer(data: Any, kind: str, **options: Any) -> LayerData:
    """Return a layer; wide planes of an image on disk are shown reduced."""
    levels = getattr(data, "levels", [])
    if len(levels) > 1:
        return levels, {"multiscale": True, **options}, kind
    return data, options, kind


def make_sample() -> list[LayerData]:
    """Return a synthetic stack of nuclei with its labels."""
    from cytoloop.synthesis.image import draw_image
    from cytoloop.synthesis.settings import SynthesisSettings

    image = draw_image(SynthesisSettings(), seed=0)
    common = {"scale": image.spacing_um, "units": ("um",) * 3}
    return [
        (image.raw, {"name": "synthetic nuclei", **common}, "image"),
        (image.labels, {"name": "synthetic nuclei, truth", **common}, "labels"),
    ]


def read_rows(path: str | list[str]) -> list[LayerData]:
    """Return the first image of a manifest or of a ``predictions.csv``, with its labels."""
    from cytoloop.io.pixels import Pixels
    from cytoloop.manifest import read_manifest
    from cytoloop.truth.targets import read_partner, read_raw
    from cytoloop.viewer.session.large import is_large, open_labels, open_raw
    from cytoloop.viewer.session.lazy import lazy_channels

    first = path if isinstance(path, str) else path[0]
    row = next(iter(read_manifest(first)))
    large = is_large(row)
    image = open_raw(row) if large else read_raw(row)
    raw = lazy_channels(image) if isinstance(image, Pixels) else list(image.data)
    ndim = len(raw[0].shape)
    spacing = row.spacing_um or image.spacing_um
    scale = (1.0,) * ndim if spacing is None else tuple(spacing[-ndim:])
    common = {"scale": scale, "units": ("um",) * ndim}
    found: list[LayerData] = [
        _layer(channel, "image", name=f"{row.id} {name}", blending="additive", **common)
        for name, channel in zip(image.channels, raw, strict=False)
    ]
    for column in ("seg1", "seg2", "labels"):
        if row[column]:
            labels = open_labels(row, column) if large else read_partner(row, column)
            found.append(_layer(labels, "labels", name=f"{row.id} {column}", **common))
    return found


def write_region_layer(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a labels layer as a region: 255 where a label is above 0; return the path."""
    mask = np.asarray(data) > 0
    scale = attributes.get("scale", (1.0,) * mask.ndim)
    write_region(path, mask, spacing_of(scale, attributes.get("units") or ()))
    return [path]
