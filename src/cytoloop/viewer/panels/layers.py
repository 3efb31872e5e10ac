"""Layers of napari for an image: raw, segmentations, prediction, target, regions.

Only the display changes here. Arrays come from threads, with their contrast.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from cytoloop.io.voxel_size import Spacing
from cytoloop.viewer.session.images import ImageState, LoadedImage
from cytoloop.viewer.session.lazy import LazyImage, Voxels, as_uint8, lazy_zeros
from cytoloop.viewer.session.scores import OTHER, Compared
from cytoloop.viewer.session.thresholds import StoredMaps

TARGET, EXCLUDED, MERGED = "target", "excluded", "merged"
PREDICTION = "prediction"
DRAW, PAINT = "draw region", "paint region"
_COLOURS = ("gray", "green", "magenta", "cyan", "yellow")
_MASKS = {EXCLUDED: "#ff9628", MERGED: "#3fa7ff"}
TRIAL = "other values"
_OF_PREDICTION = ("probability", PREDICTION, TRIAL)
_COMPARED = {"truth": (2, 0.9), "prediction": (0, 0.35), OTHER: (1, 1.0)}
"""Width of outlines (0: filled) and opacity of the layers of the panel Compare."""


def show_image(viewer: Any, image: LoadedImage, state: ImageState) -> None:
    """Show an image of the queue; layers of the one before are used again."""
    scale = scale_of(image.spacing_um, len(image.shape))
    names = raw_names(image.channels)
    wanted = {*names, *image.segmentations, TARGET, EXCLUDED, MERGED, DRAW, PAINT}
    wanted |= {PREDICTION} if image.predicted is not None else set()
    is_first = _keep_only(viewer, wanted, len(image.shape))
    _put_raw(viewer, names, image.raw, image.contrast, scale)
    for name, labels in image.segmentations.items():
        _put(viewer, name, labels, "labels", scale, visible=False)
    if image.predicted is not None:
        _put(viewer, PREDICTION, image.predicted, "labels", scale, visible=False)
    show_state(viewer, state, scale)
    if is_first:
        viewer.reset_view()
        viewer.layers.selection.active = find_layer(viewer, names[0])


def show_state(viewer: Any, state: ImageState, scale: tuple[float, ...]) -> None:
    """Show target and regions."""
    _put(viewer, TARGET, state.target, "labels", scale, opacity=0.5)
    for name, mask in ((EXCLUDED, state.excluded), (MERGED, state.merged)):
        layer = _put(viewer, name, as_uint8(mask), "labels", scale, opacity=0.4)
        layer.colormap = _mask_colour(name)


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
        layer = _put(viewer, name, np.zeros(shape, np.uint8), "labels", scale, opacity=0.5)
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


def _put(
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


def _put_raw(
    viewer: Any,
    names: Sequence[str],
    raw: Sequence[Voxels] | np.ndarray,
    contrast: Sequence[tuple[float, float]],
    scale: tuple[float, ...],
) -> None:
    """Show the channels (C, [Z,] Y, X) of a raw image."""
    for name, channel, limits, colour in zip(
        names, raw, contrast, _COLOURS * len(names), strict=False
    ):
        layer = _put(viewer, name, channel, "image", scale, colormap=colour, blending="additive")
        layer.contrast_limits_range = _wide(limits, channel)
        layer.contrast_limits = limits


def _keep_only(viewer: Any, wanted: Collection[str], ndim: int, compared: bool = False) -> bool:
    """Remove other layers of ours; return whether there was none before.

    Compare colours a prediction by its errors: the other panels do not use that layer again.
    """
    own = [layer for layer in viewer.layers if layer.metadata.get("cytoloop")]
    for layer in own:
        is_other = layer.name == PREDICTION and layer.metadata.get("compared", False) != compared
        if layer.name not in wanted or layer.ndim != ndim or is_other:
            viewer.layers.remove(layer)
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


def _mask_colour(name: str) -> Any:
    from napari.utils.colormaps import DirectLabelColormap

    return DirectLabelColormap(color_dict={None: "transparent", 0: "transparent", 1: _MASKS[name]})


def show_pair(viewer: Any, found: LoadedImage) -> None:
    """Show the files of a row of the panel Data."""
    zeros = lazy_zeros if found.is_large else np.zeros
    nothing = zeros(found.shape, bool)
    labels = found.segmentations.get("seg1")
    target = zeros(found.shape, np.uint32) if labels is None else labels
    show_image(viewer, found, ImageState(target, nothing, nothing))


def show_prediction(viewer: Any, stored: StoredMaps) -> None:
    """Show a stored prediction over its raw image."""
    shape = stored.maps["probability"].shape
    scale = scale_of(stored.spacing_um, len(shape))
    raw = [] if stored.raw is None else list(stored.raw)
    names = raw_names(tuple(map(str, range(len(raw))))) if raw else []
    wanted = {*names, *_OF_PREDICTION}
    is_first = _keep_only(viewer, wanted - {TRIAL}, len(shape))
    if stored.raw is not None:
        _put_raw(viewer, names, raw, stored.contrast, scale)
    probability = stored.maps["probability"]
    full = 255.0 if probability.dtype == np.uint8 else 1.0
    layer = _put(
        viewer,
        "probability",
        probability,
        "image",
        scale,
        colormap="magma",
        blending="additive",
        opacity=0.5,
        visible=False,
    )
    layer.contrast_limits_range = layer.contrast_limits = (0, full)
    if stored.labels is not None:
        layer = _put(viewer, PREDICTION, stored.labels, "labels", scale, opacity=0.5)
        layer.visible = find_layer(viewer, TRIAL) is None
    if is_first:
        viewer.reset_view()


def show_trial(viewer: Any, stored: StoredMaps, labels: np.ndarray, planes: slice) -> None:
    """Show the objects that other values give, in the planes that were tried."""
    shape = stored.maps["probability"].shape
    layer = find_layer(viewer, TRIAL)
    whole = labels
    if labels.shape != shape:  # some planes of a large stack
        is_same = layer is not None and layer.data.shape == shape
        whole = layer.data if layer is not None and is_same else np.zeros(shape, np.uint32)
        whole[planes] = labels
    layer = _put(
        viewer, TRIAL, whole, "labels", scale_of(stored.spacing_um, len(shape)), opacity=0.6
    )
    layer.refresh()
    stored_layer = find_layer(viewer, PREDICTION)
    if stored_layer is not None:
        stored_layer.visible = False


def remove_trial(viewer: Any) -> None:
    """Remove the objects of other values, and show the stored ones again."""
    layer, stored = find_layer(viewer, TRIAL), find_layer(viewer, PREDICTION)
    if layer is not None:
        viewer.layers.remove(layer)
    if stored is not None:
        stored.visible = True


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


def show_compared(viewer: Any, compared: Compared) -> None:
    """Show truth and prediction, each object in the colour of its error type."""
    from napari.utils.colormaps import DirectLabelColormap

    shape = next(iter(compared.labels.values())).shape
    scale = scale_of(compared.spacing_um, len(shape))
    names = [] if compared.raw is None else raw_names(tuple(map(str, range(len(compared.raw)))))
    is_first = _keep_only(viewer, {*names, *compared.labels}, len(shape), compared=True)
    if compared.raw is not None:
        _put_raw(viewer, names, compared.raw, compared.contrast, scale)
    for name, labels in compared.labels.items():
        layer = _put(viewer, name, labels, "labels", scale)
        layer.metadata["compared"] = True
        layer.contour, layer.opacity = _COMPARED[name]
        layer.visible = True
        colours: dict[int | None, Any] = dict(compared.colours[name])  # type: ignore[arg-type]
        colours |= {None: "transparent", 0: "transparent"}
        layer.colormap = DirectLabelColormap(color_dict=colours)
    if is_first:
        viewer.reset_view()


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
