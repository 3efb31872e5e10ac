"""A package of the BioImage Model Zoo (bioimage.io): one zip with weights, tests and description.

The weights are TorchScript. Grey levels are normalised by the package's own steps, which do what
`cytoloop.intensity.normalization` does; the zoo's own validator and runner check the zip (extra ``bioimageio``).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cytoloop.errors import ModelError
from cytoloop.intensity.normalization import intensity_statistics, normalize
from cytoloop.model.checkpoint import Checkpoint, build_network
from cytoloop.model.exporters.bioimage_description import (
    INPUT,
    OUTPUT,
    README,
    WEIGHTS,
    description,
    gives_probability,
    readme,
)
from cytoloop.model.exporters.graphs import trace
from cytoloop.model.exporters.metadata import About, need
from cytoloop.model.exporters.parity import logits_of, probes

PACKAGE = "model.bioimageio.zip"
_CLOSE = 1e-3
"""The zoo adds 1e-6 to what it divides by, and sums in another order."""
_BRIGHT, _SPREAD = 500.0, 100.0


def write_bioimage(checkpoint: Checkpoint, folder: Path, about: About) -> float:
    """Write the zip; the zoo's runner gives what our network does.

    Raises
    ------
    ModelError
        The extra is missing, the zoo's validator finds a fault, or the output differs.
    """
    spec, core, v0_5 = need(
        "bioimageio",
        "bioimageio",
        *("bioimageio.spec", "bioimageio.core", "bioimageio.spec.model.v0_5"),
    )
    _quiet()
    network = build_network(checkpoint).requires_grad_(False)
    images = probes(checkpoint, network)
    parts = folder / "parts"
    parts.mkdir()
    trace(network, images[0], parts / WEIGHTS)
    image = _example(checkpoint)
    wanted = _output(checkpoint, network, image)
    np.save(parts / INPUT, image)
    np.save(parts / OUTPUT, wanted)
    (parts / README).write_text(readme(checkpoint, about), encoding="utf-8")
    try:
        model = description(v0_5, checkpoint, about, parts, _CLOSE, free=len(images) > 1)
        spec.save_bioimageio_package(model, output_path=folder / PACKAGE)
    except ValueError as error:  # pydantic's
        found = [line.strip() for line in str(error).splitlines() if line.strip()][:8]
        raise ModelError("format=bioimageio", found, "See https://bioimage.io/docs.") from error
    shutil.rmtree(parts)
    return _check(spec, core, folder / PACKAGE, wanted)


def _check(spec: Any, core: Any, package: Path, wanted: np.ndarray) -> float:
    """Return by how much the zoo's runner differs from ours at most.

    Raises
    ------
    ModelError
        The zoo's own test fails, or it differs by more than `_CLOSE`.
    """
    summary = core.test_model(package, weight_format="torchscript", devices=["cpu"])
    if summary.status != "passed":
        found = [error.msg for detail in summary.details for error in detail.errors]
        raise ModelError(package.name, found or "fails the zoo's test", "It is not kept.")
    model = spec.load_model_description(package)
    with core.create_prediction_pipeline(
        model, weight_format="torchscript", devices=["cpu"]
    ) as pipeline:
        # without the rim that the zoo adds to windows: our example has none
        sample = pipeline.predict_sample_without_blocking(
            core.digest_spec.get_test_input_sample(model),
            skip_input_padding=True,
            skip_output_cropping=True,
        )
    given = np.asarray(next(iter(sample.members.values())).data)
    difference = float(np.abs(given - wanted).max())
    if not difference <= _CLOSE * max(float(np.abs(wanted).max()), 1.0):
        raise ModelError(
            package.name, f"its output differs from the model's by {difference:.3g}", "Not kept."
        )
    return difference


def _example(checkpoint: Checkpoint) -> np.ndarray:
    """Return grey levels (1, C, [Z,] Y, X) float32 of one patch, seeded."""
    shape = (1, int(checkpoint.image["channels"]), *map(int, checkpoint.image["patch_size"]))
    rule = checkpoint.image["normalization"]
    rng = np.random.default_rng(0)
    if rule["method"] == "range":
        return rng.uniform(rule["minimum"], rule["maximum"], shape).astype(np.float32)
    return rng.normal(_BRIGHT, _SPREAD, shape).astype(np.float32)


def _output(checkpoint: Checkpoint, network: nn.Module, image: np.ndarray) -> np.ndarray:
    """Return what our network makes of grey levels: the probability, or logits of several heads."""
    levels = intensity_statistics(image[0], checkpoint.image["normalization"])
    logits = logits_of(network, torch.from_numpy(normalize(image[0], *levels))[None])
    return (logits.sigmoid() if gives_probability(checkpoint) else logits).numpy()


def _quiet() -> None:
    """Keep the zoo's own log (loguru, which writes to the terminal) silent."""
    (loguru,) = need("bioimageio", "bioimageio", "loguru")
    loguru.logger.disable("bioimageio")
