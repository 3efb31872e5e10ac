"""Losses of other libraries and of the user, without the excluded voxels.

A loss of (logits, target) knows no weight. The included voxels of each sample are gathered to
(1, K, N), so that no other voxel can change its value or its gradient. The position of a voxel is
lost: a loss that needs neighbours, such as SSIM, is refused for data with excluded voxels (the dry
run of a training checks it).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from cytoloop.errors import ConfigError

_SIDE = {2: 24, 3: 16}
"""Side of the image on which a loss is tested: larger than the windows of SSIM (11)."""
_TOLERANCE = 1e-4
"""Largest relative difference between two orders of the voxels: float32 sums differ by less."""


_BACKGROUND = -20.0
"""Logit of a voxel that is background for sure."""


def weighted_loss(loss: Any) -> nn.Module:
    """Return a loss as a module of (logits, target, weight).

    A loss whose call has an argument ``weight`` is returned as it is.
    """
    if isinstance(loss, nn.Module) and takes_weight(loss):
        return loss
    return GatheredLoss(loss)


def takes_weight(loss: Any) -> bool:
    """Return whether a loss is called with (logits, target, weight), as those of CytoLoop are."""
    call = loss.forward if isinstance(loss, nn.Module) else loss
    try:
        parameters = list(inspect.signature(call).parameters.values())
    except (TypeError, ValueError):  # compiled code
        return False
    return any(one.name == "weight" for one in parameters[2:])


class GatheredLoss(nn.Module):
    """A loss of (logits, target), computed over the included voxels only.

    The result is the mean over the samples. A loss that pools a whole batch (``batch=True`` of
    MONAI) gets the voxels of all samples at once. Without excluded voxels, the loss is called with
    the whole patches. A loss that needs neighbours gets whole patches, too: voxels outside the
    image, which a rotation brings into a patch, are background for it.

    Parameters
    ----------
    loss : callable
        Returns a scalar, or a tensor whose mean is the loss.
    """

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.loss = loss
        self._needs_neighbours: bool | None = None

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """Return the loss, a scalar.

        Parameters
        ----------
        logits : Tensor
            (B, K, [Z,] Y, X).
        target : Tensor
            Same shape, 0 to 1.
        weight : Tensor
            (B, 1, [Z,] Y, X), 0 = excluded.

        """
        counted = weight > 0
        logits, target = logits.float(), target.float()
        if bool(counted.all()):
            return self.loss(logits, target).mean()
        if self.needs_neighbours(logits.ndim - 2):
            logits = torch.where(counted, logits, _BACKGROUND)
            return self.loss(logits, torch.where(counted, target, 0.0)).mean()
        samples = [
            (_gather(logits[i], counted[i, 0]), _gather(target[i], counted[i, 0]))
            for i in range(len(logits))
            if bool(counted[i].any())
        ]
        if not samples:  # 0, and a gradient of 0
            return torch.where(counted, logits, 0.0).sum()
        if self._pools_batch():
            samples = [tuple(torch.cat(part, -1) for part in zip(*samples, strict=True))]  # type: ignore[list-item]
        return torch.stack([self.loss(*pair).mean() for pair in samples]).mean()

    @property
    def name(self) -> str:
        """Name of the loss, for messages."""
        inner = getattr(self.loss, "func", self.loss)  # of a partial function
        return getattr(inner, "__name__", None) or type(inner).__name__

    def activation_problem(self) -> str | None:
        """Return what is wrong with the activation of a loss of MONAI; None if nothing is."""
        for part in self.modules():
            for name in ("softmax", "use_softmax"):
                if getattr(part, name, False) is True:
                    return f"{name}=true: the softmax of a single channel is always 1"
        return None

    def needs_neighbours(self, dims: int) -> bool:
        """Return whether the value depends on where the voxels lie, and not only on their values.

        The loss is called with seeded images of `dims` axes, with the same voxels in other orders,
        and with them gathered. It needs neighbours if the values differ.
        """
        if self._needs_neighbours is None:
            devices = {t.device for t in [*self.parameters(), *self.buffers()]}
            device = devices.pop() if devices else torch.device("cpu")
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                self._needs_neighbours = self._depends_on_order(dims, device)
        return self._needs_neighbours

    def _depends_on_order(self, dims: int, device: torch.device) -> bool:
        generator = torch.Generator().manual_seed(0)
        side = _SIDE[dims]
        grid = torch.meshgrid(*[torch.arange(side) - side / 2] * dims, indexing="ij")
        ball = (torch.stack(grid).square().sum(0) < (side / 3) ** 2).float()
        noise = torch.randn(side**dims, generator=generator).reshape(ball.shape)
        for logits, target in (
            (3 * (2 * ball.roll(2, 0) - 1) + noise, ball),
            (noise, (noise.roll(1, 0) > 0).float()),
        ):
            logits, target = logits[None, None].to(device), target[None, None].to(device)
            expected = self._value(logits, target)
            order = torch.randperm(side**dims, generator=generator).to(device)
            flat = [one.reshape(1, 1, -1)[..., order] for one in (logits, target)]
            try:
                values = [self._value(*flat), self._value(*(f.reshape(logits.shape) for f in flat))]
            except Exception:  # the loss needs the axes of an image
                return True
            limit = _TOLERANCE * max(abs(expected), 1e-3)
            if any(not abs(value - expected) <= limit for value in values):
                return True
        return False

    def _value(self, logits: Tensor, target: Tensor) -> float:
        torch.manual_seed(0)  # a loss may draw random numbers
        return float(self.loss(logits, target).mean())

    def _pools_batch(self) -> bool:
        return any(getattr(part, "batch", False) is True for part in self.modules())


def neighbours_error(key: str, name: str) -> ConfigError:
    """Return the error for a loss that needs neighbours, and data with excluded voxels."""
    return ConfigError(
        key,
        f"{name} compares neighbouring voxels, but voxels of the data set are excluded",
        "Take a loss that sums over voxels, such as monai.losses.DiceCELoss, one of "
        "cytoloop.model.losses, or curate without exclude=.",
    )


def _gather(values: Tensor, counted: Tensor) -> Tensor:
    """Return the included voxels of a sample (K, [Z,] Y, X) as (1, K, N)."""
    return values[:, counted][None]
