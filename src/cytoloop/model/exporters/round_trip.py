"""Round trip: an exported model is imported again and compared with its checkpoint."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from cytoloop.errors import ModelError
from cytoloop.intensity.preparation import step_names
from cytoloop.model.checkpoint import Checkpoint, read_checkpoint
from cytoloop.model.importers.networks import NETWORKS
from cytoloop.model.importers.outputs import CLASSES_UNET, select_outputs
from cytoloop.model.trust import is_library


def read_exported(folder: Path) -> Checkpoint:
    """Return the model that was just written, without the importer's log lines."""
    importers = logging.getLogger("cytoloop.model.importers")
    former = importers.level
    importers.setLevel(logging.WARNING)
    try:
        return read_checkpoint(folder)
    finally:
        importers.setLevel(former)


def check_importable(checkpoint: Checkpoint, format_name: str) -> str:
    """Return the class name of the network, if an importer can build it.

    Raises
    ------
    ModelError
        Another class than the importers build, or images that it prepares by own functions.
    """
    target = str(checkpoint.backbone.get("_target_", ""))
    kind = target.rpartition(".")[2]
    problems = []
    if not is_library(target):
        problems.append(f"is a network of your own ({target}), which other tools do not have")
    elif kind not in NETWORKS and target != CLASSES_UNET:
        problems.append(f"is a {kind}; this format holds {', '.join(NETWORKS)}")
    if steps := checkpoint.image.get("preparation"):
        problems.append(f"prepares images ({step_names(steps)}); this format has no such steps")
    if problems:
        raise ModelError(
            f"format={format_name}, {checkpoint.path}",
            problems,
            "Formats for any network: onnx, torchscript, pt2, bioimageio, pyfunc.",
        )
    return kind


def foreground_alone(where: str, checkpoint: Checkpoint) -> Checkpoint:
    """Return a model that predicts the foreground only, without distances or contours.

    Of the tuned post-processing only the threshold is kept: the rest is of the other outputs.

    Raises
    ------
    ModelError
        It predicts classes, or its outputs cannot be separated.
    """
    image = {key: value for key, value in checkpoint.image.items() if key != "heads"}
    heads = checkpoint.image.get("heads") or ["foreground"]
    if heads[0] != "foreground":
        names = ", ".join(str(head).removeprefix("class_") for head in heads)
        raise ModelError(
            where,
            f"predicts classes ({names}); this format holds one output, the foreground",
            "Formats for classes: folder, onnx, torchscript, pt2, bioimageio, pyfunc.",
        )
    if checkpoint.backbone.get("out_channels") == 1:
        return checkpoint
    prefix = "backbone."
    inner = {name.removeprefix(prefix): value for name, value in checkpoint.weights.items()}
    try:
        backbone, weights = select_outputs(checkpoint.backbone, inner, [0])
    except ValueError as error:
        raise ModelError(
            where,
            f"its foreground cannot be separated from its other outputs: {error}",
            "Formats for any network: onnx, torchscript, pt2, bioimageio, pyfunc.",
        ) from error
    if image.get("tuned"):
        image["tuned"] = {k: v for k, v in image["tuned"].items() if k == "threshold"}
    named = {f"{prefix}{name}": value for name, value in weights.items()}
    return replace(checkpoint, backbone=backbone, weights=named, image=image)


def check_image_settings(where: str, checkpoint: Checkpoint, imported: Checkpoint) -> None:
    """Raise an error if the image settings changed in the round trip.

    Settings that the format cannot hold are None after the import; they are not compared. For
    example, CytoDL has no voxel size.

    Raises
    ------
    ModelError
        All settings that changed.
    """
    problems = [
        f"{key} is imported as {imported.image.get(key)}, expected {value}"
        for key, value in checkpoint.image.items()
        if imported.image.get(key) is not None and _plain(value) != _plain(imported.image[key])
    ]
    if problems:
        raise ModelError(where, problems, "The export is removed; take another format=.")


def _plain(value: Any) -> Any:
    """Return a value with tuples as lists, and whole numbers as floats."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
