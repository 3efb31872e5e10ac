"""The test of a package: its test input must give its test output here."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cytoloop.errors import ModelError
from cytoloop.intensity.normalization import intensity_statistics, normalize
from cytoloop.model.importers.bioimage.axes import ImageLayout
from cytoloop.model.importers.bioimage.description import local_file
from cytoloop.model.importers.bioimage.outputs import OutputMeaning

log = logging.getLogger(__name__)

_MAX_BYTES = 1 << 30
_TOLERANCE = 1e-3
"""Largest absolute and relative difference, the default of the zoo."""
_MAX_MISMATCHED = 1e-4
"""Largest fraction of values that differ by more, the default of the zoo."""


def read_test_tensor(path: Path, tensor: Any) -> np.ndarray | None:
    """Return the test tensor of an input or output; None if the package does not hold it.

    Raises
    ------
    ModelError
        The file is damaged, too large, or no array of numbers.
    """
    described = tensor.test_tensor
    if described is None or "://" in str(getattr(described.source, "root", described.source)):
        return None
    file = local_file(path, described)
    repair = "Copy the package again."
    if (size := file.stat().st_size) > _MAX_BYTES:
        raise ModelError(str(file), f"has {size} bytes, expected at most {_MAX_BYTES}", repair)
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
        found = np.array(array)
    except (OSError, ValueError, EOFError, MemoryError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelError(str(file), f"is no test tensor: {reason}", repair) from error
    if found.dtype.kind not in "biuf" or found.ndim != len(tensor.axes):
        given = f"{found.ndim} axes of {found.dtype}"
        raise ModelError(str(file), f"has {given}, expected {len(tensor.axes)}", repair)
    return found


def check_reproduction(
    where: str,
    network: nn.Module,
    rule: dict[str, Any],
    layout: ImageLayout,
    meaning: OutputMeaning,
    test: tuple[np.ndarray | None, np.ndarray | None],
) -> str:
    """Return how well the test output is reproduced, in words.

    Parameters
    ----------
    where : str
        The package.
    network : Module
        Returns logits, see `GraphNetwork`.
    rule : dict
        Normalisation.
    layout : ImageLayout
    meaning : OutputMeaning
    test : tuple of ndarray or None
        Test input and test output, in the package's order of axes.

    Raises
    ------
    ModelError
        The output differs.
    """
    given, expected = test
    if given is None or expected is None:
        log.warning(
            "%s: holds no test input and output: whether it is run correctly here is not known",
            where,
        )
        return "its output was not tested"
    images = _in_our_order(given, layout.axes)
    expected = _in_our_order(expected, meaning.axes)
    normalized = np.stack([normalize(i, *intensity_statistics(i, rule)) for i in images])
    with torch.inference_mode():
        logits = network(torch.from_numpy(normalized))
        logits = logits[0] if isinstance(logits, (tuple, list)) else logits
        found = _in_their_form(logits.float(), meaning).numpy()
    found = _cropped(found, expected.shape)
    if found.shape != expected.shape:
        raise ModelError(
            where,
            f"its test output has shape {expected.shape}, its input {images.shape}",
            "Only models whose output has the size of their input are run here.",
        )
    if "binarize" in meaning.steps:
        found = found > (meaning.threshold or 0.5)
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    difference = np.abs(found - expected)
    mismatched = float(np.mean(difference > _TOLERANCE + _TOLERANCE * np.abs(expected)))
    if not mismatched <= _MAX_MISMATCHED:
        raise ModelError(
            where,
            f"its test input does not give its test output: {mismatched:.2%} of the values differ, "
            f"by up to {np.nanmax(difference):.3g}",
            "The package is damaged, or needs what CytoLoop does not do. Run it with "
            "`bioimageio test`; if that passes, it is a fault of CytoLoop.",
        )
    return f"its test output is reproduced within {difference.max():.2g}"


def _in_our_order(array: np.ndarray, axes: str) -> np.ndarray:
    """Return an array (B, C, [Z,] Y, X); axes that it lacks have length 1."""
    for letter in "cb":
        if letter not in axes:
            array, axes = array[None], letter + axes
    order = [axes.index(letter) for letter in "bczyx" if letter in axes]
    return np.ascontiguousarray(array.transpose(order))


def _in_their_form(logits: torch.Tensor, meaning: OutputMeaning) -> torch.Tensor:
    """Return the values that a package's output has, from our logits."""
    if meaning.activation in ("softmax", "class_probabilities"):
        return torch.cat([torch.zeros_like(logits[:, :1]), logits], 1).softmax(1)
    if meaning.activation == "logits" and "sigmoid" not in meaning.steps:
        return logits
    return logits.sigmoid()


def _cropped(found: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the centre of an output; a test output may lack its halo."""
    if found.ndim != len(shape):
        return found
    rest = [have - want for have, want in zip(found.shape, shape, strict=True)]
    if any(rest[:2]) or any(n < 0 or n % 2 for n in rest):
        return found
    return found[tuple(slice(n // 2, n // 2 + want) for n, want in zip(rest, shape, strict=True))]
