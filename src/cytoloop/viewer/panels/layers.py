"""Layers of napari that are ours: made, given new data, found, removed.

Only the display changes here. Arrays come from threads, with their contrast.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cytoloop.io.voxel_size import Spacing
from cytoloop.viewer.panels.display import Steps
from cytoloop.viewer.session.lazy import LazyImage, Voxels

TARGET, EXCLUDED, MERGED = "target", "excluded", "merged"
PREDICTION = "prediction"
DRAW, PAINT = "draw region", "paint region"
_COLOURS = ("gray", "green", "magenta", "cyan", "yellow")
TRIAL = "other values"


@dataclass(frozen=True)
class Place:
    """Where an image lies in the world of napari.

    Attributes
    ----------
    scale, translate : tuple of float
        Size of a voxel, and position of the first one, along each axis.
    units : tuple of str
        Of both, by their full names.
    """

    scale: tuple[float, ...]
    translate: tuple[float, ...]
    units: tuple[str, ...]


def place_of(spacing_um: Spacing | None, ndim: int) -> Place:
    """Return the place of an image of a voxel size: at the origin, in pixels if it is unknown."""
    sizes = (1.0,) * ndim if spacing_um is None else tuple(map(float, spacing_um[-ndim:]))
    unit = "pixel" if all(size == 1 for size in sizes) else "micrometer"
    return Place(sizes, (0.0,) * ndim, (unit,) * ndim)


def place_of_layer(layer: Any) -> Place:
    """Return the place of a layer."""
    scale, translate = (tuple(map(float, one)) for one in (layer.scale, layer.translate))
    return Place(scale, translate, tuple(map(str, layer.units)))


def raw_names(channels: tuple[str, ...]) -> list[str]:
    """Return the names of the layers of a raw image."""
    return ["raw"] if len(channels) == 1 else [f"raw: {name}" for name in channels]


def find_layer(viewer: Any, name: str) -> Any | None:
    """Return a layer of ours, None if it is not shown."""
    for layer in viewer.layers:
        if layer.name == name and layer.metadata.get("cytoloop"):
            return layer
    return None


def drawing_layer(viewer: Any, name: str, shape: tuple[int, ...], place: Place) -> Any:
    """Return the layer on which regions are drawn or painted; it is empty when it is new."""
    layer = find_layer(viewer, name)
    if layer is None and name == DRAW:
        layer = viewer.add_shapes(
            None,
            ndim=len(shape),
            name=name,
            scale=place.scale,
            translate=place.translate,
            units=place.units,
            metadata={"cytoloop": True},
        )
        layer.current_edge_color = layer.current_face_color = "#ff962866"
    elif layer is None:
        layer = put(viewer, name, np.zeros(shape, np.uint8), "labels", place, opacity=0.5)
    return layer


def has_drawing(viewer: Any) -> bool:
    """Return whether something was drawn or painted that is not used yet."""
    shapes, painted = find_layer(viewer, DRAW), find_layer(viewer, PAINT)
    return bool(shapes is not None and len(shapes.data)) or bool(
        painted is not None and painted.data.any()
    )


def remove_drawing_layers(viewer: Any) -> None:
    """Remove what was drawn and not used; the target is chosen in place of it."""
    for name in (DRAW, PAINT):
        layer = find_layer(viewer, name)
        if layer is not None:
            active = viewer.layers.selection.active
            viewer.layers.remove(layer)
            if active is not None and active.name == name:
                viewer.layers.selection.active = find_layer(viewer, TARGET)


def put(viewer: Any, name: str, data: Voxels, kind: str, place: Place, **extra: Any) -> Any:
    """Return the layer of a name with new data; it is made if it is missing."""
    layer = find_layer(viewer, name)
    levels = _levels(data)
    if layer is not None and layer.multiscale != (levels is not None):
        viewer.layers.remove(layer)  # napari cannot change it
        layer = None
    if layer is None:
        add = viewer.add_image if kind == "image" else viewer.add_labels
        if kind == "image":
            extra = {"contrast_limits": (0, 1), **extra}
        if levels is not None:
            extra = {"multiscale": True, **extra}
        known = {"name": name, "metadata": {"cytoloop": True}, **asdict(place)}
        layer = add(levels or data, **known, **extra)
        layer.editable = not isinstance(data, LazyImage)  # what stays on disk cannot be painted
        return layer
    if (layer.data[0] if levels else layer.data) is not data:
        layer.data = levels or data
        layer.editable = not isinstance(data, LazyImage)
    if place_of_layer(layer) != place:
        layer.scale, layer.translate, layer.units = place.scale, place.translate, place.units
    return layer


def _levels(data: Voxels) -> list[LazyImage] | None:
    """Return the levels of an image on disk with wide planes, None for others."""
    levels = data.levels if isinstance(data, LazyImage) else []
    return levels if len(levels) > 1 else None


def put_raw(
    viewer: Any,
    names: Sequence[str],
    raw: Sequence[Voxels] | np.ndarray,
    contrast: Sequence[tuple[float, float]],
    place: Place,
) -> Steps:
    """Show the channels (C, [Z,] Y, X) of a raw image."""
    for name, channel, limits, colour in zip(
        names, raw, contrast, _COLOURS * len(names), strict=False
    ):
        layer = put(viewer, name, channel, "image", place, colormap=colour, blending="additive")
        layer.contrast_limits_range = _wide(limits, channel)
        layer.contrast_limits = limits
        yield


def keep_only(
    viewer: Any, wanted: Collection[str], ndim: int, compared: bool = False
) -> Generator[None, None, bool]:
    """Remove other layers of ours; return whether there was none before.

    Compare colours a prediction by its errors: the other panels do not use that layer again.
    """
    own = [layer for layer in viewer.layers if layer.metadata.get("cytoloop")]

    def is_wanted(layer: Any) -> bool:
        is_other = layer.name == PREDICTION and layer.metadata.get("compared", False) != compared
        return layer.name in wanted and layer.ndim == ndim and not is_other

    others = [layer for layer in own if not is_wanted(layer)]
    viewer.layers.selection.difference_update(others)  # or napari selects another one each time
    for layer in others:
        viewer.layers.remove(layer)
        yield
    return not own


def _wide(limits: tuple[float, float], channel: Voxels) -> tuple[float, float]:
    """Return the range of the contrast sliders."""
    if channel.dtype.kind in "iu" and channel.dtype.itemsize == 1:
        return (0, 255)
    low, high = limits
    return (low - (high - low), high + (high - low))


def visible_plane(viewer: Any) -> int:
    """Return the visible slice of our stack, 0 for a 2D image.

    Other layers may begin elsewhere or have other voxels: napari's slider counts those of all.
    """
    stacks = (
        layer
        for layer in viewer.layers
        if layer.metadata.get("cytoloop") and layer.ndim == 3 and hasattr(layer.data, "shape")
    )
    layer = next(stacks, None)
    if layer is None:
        return 0
    plane = round(float(layer.world_to_data(viewer.dims.point)[-3]))
    return min(max(plane, 0), pixels_of(layer).shape[0] - 1)


def pixels_of(layer: Any) -> Any:
    """Return the pixels of a layer, of several levels the finest."""
    return layer.data[0] if layer.multiscale else layer.data


def go_to(viewer: Any, name: str, centre: Sequence[float]) -> None:
    """Move the view to a point ([z,] y, x) in voxels of a layer."""
    layer = find_layer(viewer, name)
    if layer is None or len(centre) != layer.ndim:
        return
    world = layer.data_to_world(centre)
    viewer.dims.set_point(range(len(world)), world)
    viewer.camera.center = tuple(world)[-2:]


def object_at(viewer: Any, name: str, position: Sequence[float]) -> int:
    """Return the object of a labels layer at a position of the world, 0 for none."""
    layer = find_layer(viewer, name)
    value = None if layer is None else layer.get_value(position, world=True)
    number = value[1] if isinstance(value, tuple) else value  # (level, value) of wide planes
    return int(number or 0)
