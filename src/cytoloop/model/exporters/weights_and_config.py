"""Weights with a ``config.json``, as the Segmentation module has them (`model.foreign.pair`)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from cytoloop.errors import ModelError
from cytoloop.model.checkpoint import Checkpoint, build_network, read_checkpoint
from cytoloop.model.exporters.metadata import About, write_json
from cytoloop.model.exporters.parity import check_same, probes
from cytoloop.model.importers.networks import NETWORKS
from cytoloop.model.importers.weights_and_config import CONFIG, IMAGE_KEYS, WEIGHTS
from cytoloop.version import __version__

RESULTS = "results.json"


def write_pair(checkpoint: Checkpoint, folder: Path, about: About) -> float:
    """Write ``best_model.pth``, ``config.json`` and ``results.json``; they give the same bits.

    Raises
    ------
    ModelError
        More than one output channel, or an architecture that the reader does not take.
    """
    kind = check_one_logit(checkpoint, "folder")
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
    write_json(folder / RESULTS, results)
    again, network = read_again(folder), build_network(checkpoint)
    check_image(CONFIG, checkpoint, again)
    return check_same(
        WEIGHTS, probes(checkpoint, network), network, build_network(again), share=0.0
    )


def read_again(folder: Path) -> Checkpoint:
    """Return the model that was just written, without telling the person about it."""
    reader = logging.getLogger("cytoloop.model.importers")
    former = reader.level
    reader.setLevel(logging.WARNING)
    try:
        return read_checkpoint(folder)
    finally:
        reader.setLevel(former)


def check_one_logit(checkpoint: Checkpoint, form: str) -> str:
    """Return the name of the network's class.

    Raises
    ------
    ModelError
        The form has no place for such a network.
    """
    kind = str(checkpoint.backbone.get("_target_", "")).rpartition(".")[2]
    problems = []
    if kind not in NETWORKS:
        problems.append(f"is a {kind}; this form holds {', '.join(NETWORKS)}")
    if (count := checkpoint.backbone.get("out_channels")) != 1:
        problems.append(f"has {count} output channels; this form holds one, the foreground")
    if problems:
        raise ModelError(
            f"format={form}, {checkpoint.path}",
            problems,
            "onnx, torchscript, pt2, bioimageio and pyfunc hold any network.",
        )
    return kind


def check_image(where: str, ours: Checkpoint, theirs: Checkpoint) -> None:
    """Refuse a written model that takes an image for something else than ours does.

    What a form has no place for (CytoDL knows no voxel size) is not known there.

    Raises
    ------
    ModelError
    """
    problems = [
        f"{key} is read again as {theirs.image.get(key)}, the model has {value}"
        for key, value in ours.image.items()
        if theirs.image.get(key) is not None and _plain(value) != _plain(theirs.image[key])
    ]
    if problems:
        raise ModelError(where, problems, "It is not kept; take another format=.")


def _plain(value: Any) -> Any:
    """Return a value with tuples as lists, and numbers as floats."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
