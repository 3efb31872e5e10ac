"""Which networks can be averaged: those that take the same windows."""

from __future__ import annotations

from cytoloop.errors import ModelError
from cytoloop.intensity.normalization import STEPS
from cytoloop.model.checkpoint import Checkpoint


def check_same_windows(one: Checkpoint, other: Checkpoint) -> None:
    """Refuse an ensemble whose networks take different windows.

    Parameters
    ----------
    one, other : Checkpoint

    Raises
    ------
    ModelError
        All settings in which they differ.
    """
    keys = ["spatial_dims", "channels", "patch_size", "heads", "output", "zoom", "preparation"]
    keys += ["halo", "window"]
    rules = [each.image["normalization"] for each in (one, other)]
    if one.image.get("preparation") or any(rule["method"] == STEPS for rule in rules):
        keys.append("normalization")  # a preparation or a clipping follows it
    different = [
        f"{key} is {other.image.get(key)}, but {one.image.get(key)} in {one.path.name}"
        for key in keys
        if str(other.image.get(key) or None) != str(one.image.get(key) or None)
    ]
    if different:
        raise ModelError(
            str(other.path),
            different,
            f"The models of an ensemble must agree in {', '.join(keys)}.",
        )
