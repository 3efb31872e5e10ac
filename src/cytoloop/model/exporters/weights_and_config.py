"""Exporter of weights with a ``config.json``, as the Segmentation module has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from cytoloop.model.checkpoint import Checkpoint, build_network
from cytoloop.model.exporters.metadata import About, write_json
from cytoloop.model.exporters.parity import check_parity, probe_images
from cytoloop.model.exporters.round_trip import (
    check_image_settings,
    check_importable,
    read_exported,
)
from cytoloop.model.importers.weights_and_config import CONFIG, IMAGE_KEYS, WEIGHTS
from cytoloop.version import __version__

_RESULTS = "results.json"


def write(checkpoint: Checkpoint, folder: Path, about: About) -> float:
    """Write ``best_model.pth``, ``config.json`` and ``results.json``; return 0.

    The imported model has the same logits, bit by bit.

    Raises
    ------
    ModelError
        More than one output channel, a network that the importer does not build, or a difference
        after the round trip.
    """
    kind = check_importable(checkpoint, "folder")
    prefix = "backbone."
    arguments = {k: v for k, v in checkpoint.backbone.items() if not k.startswith("_")}
    image = checkpoint.image
    config: dict[str, Any] = {
        "name": about.name,
        "version": f"cytoloop {__version__}",
        "architecture": kind,
        "arguments": arguments,
        "activation": "sigmoid",
        "patch_size": list(image["patch_size"]),
        "normalization": dict(image["normalization"]),
        **{key: image[key] for key in IMAGE_KEYS if image.get(key) is not None},
    }
    results = {
        "epochs": checkpoint.epoch + 1,
        "steps": checkpoint.step,
        "model_sha256": checkpoint.sha256,
        "scores": dict(about.scores),
    }
    weights = {name.removeprefix(prefix): value for name, value in checkpoint.weights.items()}
    torch.save(weights, folder / WEIGHTS)
    write_json(folder / CONFIG, config)
    write_json(folder / _RESULTS, results)
    imported, network = read_exported(folder), build_network(checkpoint)
    check_image_settings(CONFIG, checkpoint, imported)
    images = probe_images(checkpoint, network)
    return check_parity(WEIGHTS, images, network, build_network(imported), tolerance=0.0)
