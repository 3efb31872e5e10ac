"""The maps that a network predicts: their names, order and number format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cytoloop.errors import ModelError
from cytoloop.inference.settings import HEADS
from cytoloop.truth.classes import class_heads, class_names

INTENSITY = "intensity"
"""A network from image to image: its map is an image, not a probability."""
SKELETONS = "skeletons"
"""A network of CytoDL's ``instance_seg``, see `cytoloop.instances.skeletons`."""
SKELETON_MAPS = ("skeleton", "probability")
"""Its first outputs; the others are the offsets, one per axis, and maps that are not used."""


def map_names(image: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of a network's maps, in the order of its outputs.

    ``probability`` and some of `HEADS`, or ``class_NAME`` for each class. ``intensity`` of a
    network from image to image. ``skeleton``, ``probability`` and ``offset_y`` etc. of CytoDL's
    ``instance_seg``.

    Parameters
    ----------
    image : mapping
        A checkpoint's ``image`` entry. Its ``heads`` are the outputs of the network: the
        foreground first, or classes only (`cytoloop.truth.classes`). Its ``output`` names another
        kind of network.

    Raises
    ------
    ModelError
        An unknown or repeated head, or an unknown kind of output.
    """
    output = image.get("output")
    if output == INTENSITY:
        return (INTENSITY,)
    if output == SKELETONS:
        axes = "zyx"[-int(image["spatial_dims"]) :]
        return (*SKELETON_MAPS, *(f"offset_{axis}" for axis in axes))
    if output is not None:
        raise ModelError(
            "model", f"its output is {output!r}"[:120], f"Expected {INTENSITY} or {SKELETONS}."
        )
    heads = image.get("heads") or ["foreground"]
    if names := class_names(heads):
        return tuple(class_heads(names))
    listed = [str(head) for head in heads] if isinstance(heads, (list, tuple)) else []
    if not listed or listed[0] != "foreground" or not set(listed[1:]) <= set(HEADS):
        raise ModelError(
            "model",
            f"its heads are {heads!r}"[:120],
            f"Expected foreground, with or without {', '.join(HEADS)}; or classes.",
        )
    return ("probability", *dict.fromkeys(listed[1:]))


def map_dtype(image: Mapping[str, Any], probability_dtype: str) -> str:
    """Return the dtype of stored maps: float32 where they are no probabilities."""
    return "float32" if image.get("output") else probability_dtype
