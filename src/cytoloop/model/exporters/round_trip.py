"""Round trip: an exported model is imported again and compared with its checkpoint."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from cytoloop.errors import ModelError
from cytoloop.model.checkpoint import Checkpoint, read_checkpoint
from cytoloop.model.importers.networks import NETWORKS
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
    """Return the class name of the network, if an importer can read the exported model.

    Raises
    ------
    ModelError
        Another class than the importers build, or more than one output channel.
    """
    target = str(checkpoint.backbone.get("_target_", ""))
    kind = target.rpartition(".")[2]
    problems = []
    if not is_library(target):
        problems.append(f"is a network of your own ({target}), which other tools do not have")
    elif kind not in NETWORKS:
        problems.append(f"is a {kind}; this format holds {', '.join(NETWORKS)}")
    if (count := checkpoint.backbone.get("out_channels")) != 1:
        problems.append(f"has {count} output channels; this format holds one, the foreground")
    if checkpoint.image.get("preparation"):
        problems.append("prepares images with functions of your own; this format has none")
    if problems:
        raise ModelError(
            f"format={format_name}, {checkpoint.path}",
            problems,
            "Formats for any network: onnx, torchscript, pt2, bioimageio, pyfunc.",
        )
    return kind


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
