"""Is a written model the one that it was made of: both see the same noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cytoloop.errors import ModelError
from cytoloop.model.checkpoint import Checkpoint
from cytoloop.model.importers.networks import shrinks

CLOSE = 1e-4
"""Of float32 sums in another order: share of the largest logit (1 where all are smaller)."""


def steps(backbone: Mapping[str, Any]) -> list[int]:
    """Return what the sides of an image must be multiples of."""
    if str(backbone["_target_"]).endswith("BasicUNet"):  # it pads, and tells no strides
        return [16] * int(backbone["spatial_dims"])
    return shrinks(backbone)


def probes(checkpoint: Checkpoint, network: nn.Module) -> list[Tensor]:
    """Return noise to compare with: two of the patch size, and one that is larger.

    A network that takes no other size than that of its patches gets only the first.

    Returns
    -------
    list of Tensor
        (B, C, [Z,] Y, X) float32, seeded.
    """
    noise = torch.Generator().manual_seed(0)
    step = steps(checkpoint.backbone) if "spatial_dims" in checkpoint.backbone else None
    patch = [int(side) for side in checkpoint.image["patch_size"]]
    sides = [max(n, 2 * k) for n, k in zip(patch, step or patch, strict=True)] if step else patch
    channels = int(checkpoint.image["channels"])
    found = [torch.randn(2, channels, *sides, generator=noise)]
    larger = [n + k for n, k in zip(sides, step or patch, strict=True)]
    other = torch.randn(1, channels, *larger, generator=noise)
    try:
        logits_of(network, other)
    except (AssertionError, LookupError, RuntimeError, ValueError):
        return found
    return [*found, other]


@torch.inference_mode()
def logits_of(network: Callable[[Tensor], Any], image: Tensor) -> Tensor:
    """Return what a network gives, (B, K, [Z,] Y, X)."""
    found = network(image)
    return found[0] if isinstance(found, (tuple, list)) else found


def check_same(
    where: str,
    images: list[Tensor],
    ours: Callable[[Tensor], Any],
    theirs: Callable[[Tensor], Any],
    share: float = CLOSE,
) -> float:
    """Return by how much two networks differ at most, in logits.

    Parameters
    ----------
    where : str
        What was written, for the message.
    images : list of Tensor
    ours, theirs : callables
        Image to logits.
    share : float
        Of the largest logit, that may differ; 0: every bit must be the same.

    Raises
    ------
    ModelError
        They differ by more.
    """
    largest = 0.0
    for image in images:
        wanted, found = logits_of(ours, image), logits_of(theirs, image)
        if wanted.shape != found.shape:
            raise ModelError(
                where,
                f"gives an output of shape {tuple(found.shape)}, the model {tuple(wanted.shape)}",
                "It is not kept; take another format=.",
            )
        difference = float((wanted - found).abs().max())
        most = share * max(float(wanted.abs().max()), 1.0)
        if not difference <= most:
            raise ModelError(
                where,
                f"its output differs from the model's by {difference:.3g} (at most {most:.3g})",
                "It is not kept; take another format=.",
            )
        largest = max(largest, difference)
    return largest
