"""Parity of an exported model with its checkpoint: both run on the same noise images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from cytoloop.errors import ModelError
from cytoloop.model.checkpoint import Checkpoint
from cytoloop.model.importers.networks import total_strides
from cytoloop.model.sizes import size_multiples

_TOLERANCE = 1e-4
"""Largest difference between logits, relative to the largest logit: float32 sums in another order
differ by less."""


def side_multiples(checkpoint: Checkpoint) -> list[int]:
    """Return the number that each side of an image, [Z,] Y, X, must be a multiple of.

    It is the patch size for a network of the user whose strides are not known.
    """
    backbone, patch = checkpoint.backbone, [int(n) for n in checkpoint.image["patch_size"]]
    target = str(backbone["_target_"])
    if not target.startswith("monai."):
        return size_multiples(backbone, len(patch)) or patch
    if target.endswith("BasicUNet"):  # downsamples 4 times, without `strides`
        return [16] * int(backbone["spatial_dims"])
    return total_strides(backbone)


def probe_images(checkpoint: Checkpoint, network: nn.Module) -> list[Tensor]:
    """Return noise images for the comparison: two of the patch size, and a larger one.

    The larger one is left out if the network accepts only the patch size.

    Returns
    -------
    list of Tensor
        (B, C, [Z,] Y, X) float32, seeded.
    """
    noise = torch.Generator().manual_seed(0)
    step = side_multiples(checkpoint) if "spatial_dims" in checkpoint.backbone else None
    patch = [int(side) for side in checkpoint.image["patch_size"]]
    sides = [max(n, 2 * k) for n, k in zip(patch, step or patch, strict=True)] if step else patch
    channels = int(checkpoint.image["channels"])
    images = [torch.randn(2, channels, *sides, generator=noise)]
    larger = [n + k for n, k in zip(sides, step or patch, strict=True)]
    other = torch.randn(1, channels, *larger, generator=noise)
    try:
        compute_logits(network, other)
    except (AssertionError, LookupError, RuntimeError, ValueError):
        return images
    return [*images, other]


@torch.inference_mode()
def compute_logits(network: Callable[[Tensor], Any], image: Tensor) -> Tensor:
    """Return the first output of a network, (B, K, [Z,] Y, X)."""
    output = network(image)
    return output[0] if isinstance(output, (tuple, list)) else output


def check_parity(
    where: str,
    images: list[Tensor],
    network: Callable[[Tensor], Any],
    exported: Callable[[Tensor], Any],
    tolerance: float = _TOLERANCE,
) -> float:
    """Return the largest difference between the logits of a network and of its export.

    Parameters
    ----------
    where : str
        The written file, for the error message.
    images : list of Tensor
        (B, C, [Z,] Y, X).
    network, exported : callables
        Image to logits.
    tolerance : float
        Largest difference, relative to the largest logit, or to 1 if all are smaller. 0: every
        bit must be equal.

    Raises
    ------
    ModelError
        The shapes differ, or the logits differ by more.
    """
    largest = 0.0
    for image in images:
        expected, found = compute_logits(network, image), compute_logits(exported, image)
        if expected.shape != found.shape:
            raise ModelError(
                where,
                f"its output has shape {tuple(found.shape)}, the model's {tuple(expected.shape)}",
                "The export is removed; take another format=.",
            )
        difference = float((expected - found).abs().max())
        limit = tolerance * max(float(expected.abs().max()), 1.0)
        if not difference <= limit:
            raise ModelError(
                where,
                f"its output differs from the model's by {difference:.3g}, expected at most "
                f"{limit:.3g}",
                "The export is removed; take another format=.",
            )
        largest = max(largest, difference)
    return largest
