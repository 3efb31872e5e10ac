"""What the panels show in napari: an image of the queue, a pair of files, predictions, errors.

Each function is a generator that changes layers a part at a time, for `Display`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cytoloop.viewer.panels.display import Steps
from cytoloop.viewer.panels.layers import (
    DRAW,
    EXCLUDED,
    MERGED,
    PAINT,
    PREDICTION,
    TARGET,
    TRIAL,
    Place,
    find_layer,
    keep_only,
    place_of,
    put,
    put_raw,
    raw_names,
)
from cytoloop.viewer.session.images import ImageState, LoadedImage
from cytoloop.viewer.session.lazy import as_uint8, lazy_zeros
from cytoloop.viewer.session.scores import OTHER, Compared
from cytoloop.viewer.session.thresholds import StoredMaps

_MASKS = {EXCLUDED: "#ff9628", MERGED: "#3fa7ff"}
_COMPARED = {"truth": (2, 0.9), "prediction": (0, 0.35), OTHER: (1, 1.0)}
"""Width of outlines (0: filled) and opacity of the layers of the panel Compare."""


def show_image(viewer: Any, image: LoadedImage, state: ImageState) -> Steps:
    """Show an image of the queue; layers of the one before are used again."""
    place = place_of(image.spacing_um, len(image.shape))
    names = raw_names(image.channels)
    wanted = {*names, *image.segmentations, TARGET, EXCLUDED, MERGED, DRAW, PAINT}
    wanted |= {PREDICTION} if image.predicted is not None else set()
    is_first = yield from keep_only(viewer, wanted, len(image.shape))
    yield from put_raw(viewer, names, image.raw, image.contrast, place)
    for name, labels in image.segmentations.items():
        put(viewer, name, labels, "labels", place, visible=False)
        yield
    if image.predicted is not None:
        put(viewer, PREDICTION, image.predicted, "labels", place, visible=False)
        yield
    yield from show_state(viewer, state, place)
    if is_first:
        viewer.reset_view()
        viewer.layers.selection.active = find_layer(viewer, names[0])


def show_state(viewer: Any, state: ImageState, place: Place) -> Steps:
    """Show target and regions."""
    put(viewer, TARGET, state.target, "labels", place, opacity=0.5)
    for name, mask in ((EXCLUDED, state.excluded), (MERGED, state.merged)):
        yield
        colours = _mask_colours(name)
        put(viewer, name, as_uint8(mask), "labels", place, opacity=0.4, colormap=colours)


def show_pair(viewer: Any, found: LoadedImage) -> Steps:
    """Show the files of a row of the panel Data."""
    zeros = lazy_zeros if found.is_large else np.zeros
    nothing = zeros(found.shape, bool)
    labels = found.segmentations.get("seg1")
    target = zeros(found.shape, np.uint32) if labels is None else labels
    yield from show_image(viewer, found, ImageState(target, nothing, nothing))


def show_prediction(viewer: Any, stored: StoredMaps, place: Place) -> Steps:
    """Show a stored prediction over its raw image."""
    probability = stored.maps["probability"]
    raw = [] if stored.raw is None else list(stored.raw)
    names = raw_names(tuple(map(str, range(len(raw))))) if raw else []
    wanted = {*names, "probability", PREDICTION}
    is_first = yield from keep_only(viewer, wanted, probability.ndim)
    yield from put_raw(viewer, names, raw, stored.contrast, place)
    full = 255.0 if probability.dtype == np.uint8 else 1.0
    layer = put(
        viewer,
        "probability",
        probability,
        "image",
        place,
        colormap="magma",
        blending="additive",
        opacity=0.5,
        visible=False,
    )
    layer.contrast_limits_range = layer.contrast_limits = (0, full)
    yield
    if stored.labels is not None:
        layer = put(viewer, PREDICTION, stored.labels, "labels", place, opacity=0.5)
        layer.visible = True
    if is_first:
        viewer.reset_view()


def show_trial(
    viewer: Any, stored: StoredMaps, place: Place, labels: np.ndarray, planes: slice
) -> Steps:
    """Show the objects that other values give, in the planes that were tried."""
    shape = stored.maps["probability"].shape
    layer = find_layer(viewer, TRIAL)
    whole = labels
    if labels.shape != shape:  # some planes of a large stack
        is_same = layer is not None and layer.data.shape == shape
        whole = layer.data if layer is not None and is_same else np.zeros(shape, np.uint32)
        whole[planes] = labels
    layer = put(viewer, TRIAL, whole, "labels", place, opacity=0.6)
    yield
    layer.refresh()
    stored_layer = find_layer(viewer, PREDICTION)
    if stored_layer is not None:
        stored_layer.visible = False


def remove_trial(viewer: Any) -> Steps:
    """Remove the objects of other values, and show the stored ones again."""
    layer, stored = find_layer(viewer, TRIAL), find_layer(viewer, PREDICTION)
    if layer is not None:
        viewer.layers.remove(layer)
        yield
    if stored is not None:
        stored.visible = True


def show_compared(viewer: Any, compared: Compared) -> Steps:
    """Show truth and prediction, each object in the colour of its error type."""
    from napari.utils.colormaps import DirectLabelColormap

    ndim = next(iter(compared.labels.values())).ndim
    place = place_of(compared.spacing_um, ndim)
    raw = [] if compared.raw is None else list(compared.raw)
    names = raw_names(tuple(map(str, range(len(raw))))) if raw else []
    is_first = yield from keep_only(viewer, {*names, *compared.labels}, ndim, compared=True)
    yield from put_raw(viewer, names, raw, compared.contrast, place)
    for name, labels in compared.labels.items():
        layer = put(viewer, name, labels, "labels", place)
        layer.metadata["compared"] = True
        layer.contour, layer.opacity = _COMPARED[name]
        layer.visible = True
        colours: dict[int | None, Any] = dict(compared.colours[name])  # type: ignore[arg-type]
        colours |= {None: "transparent", 0: "transparent"}
        layer.colormap = DirectLabelColormap(color_dict=colours)
        yield
    if is_first:
        viewer.reset_view()


def _mask_colours(name: str) -> Any:
    from napari.utils.colormaps import DirectLabelColormap

    return DirectLabelColormap(color_dict={None: "transparent", 0: "transparent", 1: _MASKS[name]})
