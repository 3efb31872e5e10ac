"""Exporter of BioImage Model Zoo packages: a zip with weights, tests and a description.

The weights are TorchScript, and a state dict for a network of MONAI, from which training can start.

Grey levels are normalized by preprocessing steps of the package, which are equal to
`cytoloop.intensity.normalization`. The zoo's own validator and runner (extra ``bioimageio``) check
the zip.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cytoloop.errors import ModelError
from cytoloop.extras import import_extra
from cytoloop.intensity.normalization import intensity_statistics, normalize
from cytoloop.intensity.preparation import step_names
from cytoloop.model.checkpoint import Checkpoint, build_network
from cytoloop.model.exporters.bioimage_description import (
    INPUT,
    OUTPUT,
    README,
    STATE_DICT,
    WEIGHTS,
    describe_model,
    has_probability_output,
    readme_text,
)
from cytoloop.model.exporters.graphs import trace
from cytoloop.model.exporters.metadata import About
from cytoloop.model.exporters.parity import compute_logits, probe_images

_PACKAGE = "model.bioimageio.zip"
_TOLERANCE = 1e-3
"""Largest difference of the output. The zoo adds 1e-6 to divisors, and sums in another order."""
_MEAN, _STD = 500.0, 100.0
"""Grey levels of the test image."""


def write(checkpoint: Checkpoint, folder: Path, about: About) -> float:
    """Write ``model.bioimageio.zip``; return the largest difference of the runner's output.

    Raises
    ------
    ModelError
        The extra is missing, the zoo's validator finds a fault, or the output differs.
    """
    spec, core, v0_5 = import_extra(
        "bioimageio",
        "bioimageio",
        *("bioimageio.spec", "bioimageio.core", "bioimageio.spec.model.v0_5"),
    )
    _silence_zoo_log()
    if steps := checkpoint.image.get("preparation"):
        raise ModelError(
            "format=bioimageio",
            f"prepares images ({step_names(steps)}); this format has no such steps",
            "Take format=onnx, torchscript or pyfunc.",
        )
    network = build_network(checkpoint).requires_grad_(False)
    images = probe_images(checkpoint, network)
    parts = folder / "parts"
    parts.mkdir()
    trace(network, images[0], parts / WEIGHTS)
    if str(checkpoint.backbone["_target_"]).startswith("monai.networks.nets."):
        torch.save(network.state_dict(), parts / STATE_DICT)
    image = _make_test_image(checkpoint)
    expected = _compute_output(checkpoint, network, image)
    np.save(parts / INPUT, image)
    np.save(parts / OUTPUT, expected)
    (parts / README).write_text(readme_text(checkpoint, about), encoding="utf-8")
    try:
        model = describe_model(v0_5, checkpoint, about, parts, _TOLERANCE, any_size=len(images) > 1)
        spec.save_bioimageio_package(model, output_path=folder / _PACKAGE)
    except ValueError as error:  # from pydantic
        found = [line.strip() for line in str(error).splitlines() if line.strip()][:8]
        raise ModelError("format=bioimageio", found, "See https://bioimage.io/docs.") from error
    shutil.rmtree(parts)
    return _check_package(spec, core, folder / _PACKAGE, expected)


def _check_package(spec: Any, core: Any, package: Path, expected: np.ndarray) -> float:
    """Return the largest difference of the zoo runner's output from the expected output.

    Raises
    ------
    ModelError
        The zoo's test fails, or the difference is above `_TOLERANCE`.
    """
    removed = "The package is removed; take another format=."
    with _unchanged_process():
        summary = core.test_model(package, weight_format="torchscript", devices=["cpu"])
    if summary.status != "passed":
        problems = [error.msg for detail in summary.details for error in detail.errors]
        raise ModelError(package.name, problems or "fails the zoo's test", removed)
    model = spec.load_model_description(package)
    with core.create_prediction_pipeline(
        model, weight_format="torchscript", devices=["cpu"]
    ) as pipeline:
        # without the runner's padding: the expected output was computed without it
        sample = pipeline.predict_sample_without_blocking(
            core.digest_spec.get_test_input_sample(model),
            skip_input_padding=True,
            skip_output_cropping=True,
        )
    output = np.asarray(next(iter(sample.members.values())).data)
    difference = float(np.abs(output - expected).max())
    limit = _TOLERANCE * max(float(np.abs(expected).max()), 1.0)
    if not difference <= limit:
        raise ModelError(
            package.name,
            f"its output differs from the model's by {difference:.3g}, expected at most "
            f"{limit:.3g}",
            removed,
        )
    return difference


def _make_test_image(checkpoint: Checkpoint) -> np.ndarray:
    """Return seeded grey levels of one patch, (1, C, [Z,] Y, X) float32."""
    shape = (1, int(checkpoint.image["channels"]), *map(int, checkpoint.image["patch_size"]))
    rule = checkpoint.image["normalization"]
    rng = np.random.default_rng(0)
    if rule["method"] == "range":
        return rng.uniform(rule["minimum"], rule["maximum"], shape).astype(np.float32)
    return rng.normal(_MEAN, _STD, shape).astype(np.float32)


def _compute_output(checkpoint: Checkpoint, network: nn.Module, image: np.ndarray) -> np.ndarray:
    """Return the package's expected output of grey levels: probabilities or logits."""
    statistics = intensity_statistics(image[0], checkpoint.image["normalization"])
    logits = compute_logits(network, torch.from_numpy(normalize(image[0], *statistics))[None])
    return (logits.sigmoid() if has_probability_output(checkpoint) else logits).numpy()


@contextmanager
def _unchanged_process() -> Iterator[None]:
    """Restore what the zoo's test changes: random states, deterministic algorithms, environment.

    With deterministic algorithms torch fills new memory with NaN, also in a later training.
    """
    name = "TF_ENABLE_ONEDNN_OPTS"
    states = random.getstate(), np.random.get_state(), torch.get_rng_state(), os.environ.get(name)
    strict = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(strict, warn_only=warns)
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        os.environ.pop(name, None)
        if states[3] is not None:
            os.environ[name] = states[3]


def _silence_zoo_log() -> None:
    """Disable the zoo's log: loguru writes it to the terminal."""
    (loguru,) = import_extra("format=bioimageio", "bioimageio", "loguru")
    loguru.logger.disable("bioimageio")
