"""Layers of napari that are ours: made, given new data, found, removed.

Only the display changes here. Arrays come from threads, with their contrast.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
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


def scale_of(spacing_um: Spacing | None, ndim: int) -> tuple[float, ...]:
    """Return the scale of a layer: the voxel size, 1 where it is unknown."""
    return (1.0,) * ndim if spacing_um is None else tuple(map(float, spacing_um[-ndim:]))


def raw_names(channels: tuple[str, ...]) -> list[str]:
    """Return the names of the layers of a raw image."""
    return ["raw"] if len(channels) == 1 else [f"raw: {name}" for name in channels]


def find_layer(viewer: Any, name: str) -> Any | None:
    """Return a layer of ours, None if it is not shown."""
    for layer in viewer.layers:
        if layer.name == name and layer.metadata.get("cytoloop"):
            return layer
    return None


def drawing_layer(viewer: Any, name: str, shape: tuple[int, ...], scale: tuple[float, ...]) -> Any:
    """Return the layer on which regions are drawn or painted; it is empty when it is new."""
    layer = find_layer(viewer, name)
    if layer is None and name == DRAW:
        layer = viewer.add_shapes(
            None,
            ndim=len(shape),
            name=name,
            scale=scale,
            units=_units(scale),
            metadata={"cytoloop": True},
        )
        layer.current_edge_color = layer.current_face_color = "#ff962866"
    elif layer is None:
        layer = put(viewer, name, np.zeros(shape, np.uint8), "labels", scale, opacity=0.5)
    return layer


def has_drawing(viewer: Any) -> bool:
    """Return whether something was drawn or painted that is not used yet."""
    shapes, painted = find_layer(viewer, DRAW), find_layer(viewer, PAINT)
    return bool(shapes is not None and len(shapes.data)) or bool(
        painted is not None and painted.data.any()
    )


def remove_drawing_layers(viewer: Any) -> None:
    """Remove what was drawn and not used."""
    for name in (DRAW, PAINT):
        layer = find_layer(viewer, name)
        if layer is not None:
            viewer.layers.remove(layer)


def put(
    viewer: Any, name: str, data: Voxels, kind: str, scale: tuple[float, ...], **extra: Any
) -> Any:
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
        known: Mapping[str, Any] = {"name": name, "scale": scale, "units": _units(scale)}
        if levels is not None:
            extra = {"multiscale": True, **extra}
        layer = add(levels or data, metadata={"cytoloop": True}, **known, **extra)
        layer.editable = not isinstance(data, LazyImage)  # what stays on disk cannot be painted
        return layer
    if (layer.data[0] if levels else layer.data) is not data:
        layer.data = levels or data
        layer.editable = not isinstance(data, LazyImage)
    if tuple(layer.scale) != tuple(scale):
        layer.scale, layer.units = scale, _units(scale)
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
    scale: tuple[float, ...],
) -> Steps:
    """Show the channels (C, [Z,] Y, X) of a raw image."""
    for name, channel, limits, colour in zip(
        names, raw, contrast, _COLOURS * len(names), strict=False
    ):
        layer = put(viewer, name, channel, "image", scale, colormap=colour, blending="additive")
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


def _units(scale: tuple[float, ...]) -> tuple[str, ...]:
    """Return the units of a scale: um, or pixels where the voxel size is unknown."""
    return ("pixel" if all(size == 1 for size in scale) else "um",) * len(scale)


def _wide(limits: tuple[float, float], channel: Voxels) -> tuple[float, float]:
    """Return the range of the contrast sliders."""
    if channel.dtype.kind in "iu" and channel.dtype.itemsize == 1:
        return (0, 255)
    low, high = limits
    return (low - (high - low), high + (high - low))


def visible_plane(viewer: Any) -> int:
    """Return the visible slice of a stack, 0 for a 2D image."""
    step = viewer.dims.current_step
    return int(step[-3]) if len(step) > 2 else 0


def spacing_of(layer: Any) -> Spacing | None:
    """Return the voxel size (Z, Y, X) that a layer states by its scale, None for a scale of 1."""
    scale = tuple(map(float, layer.scale))
    if all(size == 1 for size in scale):
        return None
    z, y, x = (1.0, *scale)[-3:]
    return (z, y, x)


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
