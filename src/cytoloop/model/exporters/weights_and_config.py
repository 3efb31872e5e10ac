"""Exporter of weights with a ``config.json``, as the Segmentation module has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from cytoloop.model.checkpoint import Checkpoint, build_network
from cytoloop.model.exporters.metadata import About, write_json
from cytoloop.model.exporters.parity import check_parity, compute_logits, probe_images
from cytoloop.model.exporters.round_trip import (
    check_image_settings,
    check_importable,
    foreground_alone,
    read_exported,
)
from cytoloop.model.importers.config_keys import IMAGE_KEYS
from cytoloop.model.importers.outputs import CLASSES_UNET
from cytoloop.model.importers.weights_and_config import ALL_OUTPUTS, CONFIG, WEIGHTS
from cytoloop.truth.classes import class_names
from cytoloop.version import __version__

_RESULTS = "results.json"


def write(checkpoint: Checkpoint, folder: Path, about: About) -> float:
    """Write ``best_model.pth``, ``config.json`` and ``results.json``; return 0.

    A model with distances or contours beside the foreground has its foreground in
    ``best_model.pth``, as other programs read it, and all outputs in ``all_outputs.pth``. The
    imported model has the same logits, bit by bit.

    Raises
    ------
    ModelError
        A network that the importer does not build, or a difference after the round trip.
    """
    kind = check_importable(checkpoint, "folder")
    image = checkpoint.image
    classes, heads = class_names(image.get("heads")), list(image.get("heads") or ["foreground"])
    several = len(heads) > 1 and not classes
    where = f"format=folder, {checkpoint.path}"
    first = checkpoint if classes else foreground_alone(where, checkpoint)
    arguments = {k: v for k, v in first.backbone.items() if not k.startswith("_")}
    softmax = checkpoint.backbone["_target_"] == CLASSES_UNET
    if softmax:
        kind, arguments["out_channels"] = "UNet", arguments["out_channels"] + 1
    config: dict[str, Any] = {
        "name": about.name,
        "version": f"cytoloop {__version__}",
        "architecture": kind,
        "arguments": arguments,
        "activation": "softmax" if softmax else "sigmoid",
        "patch_size": list(image["patch_size"]),
        "normalization": dict(image["normalization"]),
        **({"classes": ["background"] * softmax + list(classes)} if classes else {}),
        **({"outputs": heads} if several else {}),
        **{key: image[key] for key in IMAGE_KEYS if image.get(key) is not None},
    }
    results = {
        "epochs": checkpoint.epoch + 1,
        "steps": checkpoint.step,
        "model_sha256": checkpoint.sha256,
        "scores": dict(about.scores),
    }
    _save(first, folder / WEIGHTS)
    if several:
        _save(checkpoint, folder / ALL_OUTPUTS)
    write_json(folder / CONFIG, config)
    write_json(folder / _RESULTS, results)
    imported, network = read_exported(folder), build_network(checkpoint)
    check_image_settings(CONFIG, checkpoint, imported)
    images = probe_images(checkpoint, network)
    if first is not checkpoint:
        alone = build_network(first)
        check_parity(WEIGHTS, images, lambda one: compute_logits(network, one)[:, :1], alone)
    complete = network if several or classes else build_network(first)
    return check_parity(WEIGHTS, images, complete, build_network(imported), tolerance=0.0)


def _save(checkpoint: Checkpoint, file: Path) -> None:
    """Save the weights by their names in the network."""
    prefix = "backbone."
    weights = {name.removeprefix(prefix): value for name, value in checkpoint.weights.items()}
    torch.save(weights, file)
