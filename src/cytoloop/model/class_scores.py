"""Scores of classes on whole validation images: voxels counted image by image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class ClassCounts:
    """Voxels of each class over all images, and the scores that they make.

    Counts of all images together: a class that few images show would else be judged by the many
    that do not.

    Parameters
    ----------
    names : sequence of str
        None: there are no classes.

    Attributes
    ----------
    voxels : Tensor of int64
        (classes, 3): true, predicted, both.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.reset()

    def reset(self) -> None:
        """Start anew."""
        self.voxels = torch.zeros(len(self.names), 3, dtype=torch.int64)

    def add(self, maps: Sequence[Tensor], target: Tensor, counted: Tensor) -> None:
        """Count the voxels of an image.

        Parameters
        ----------
        maps : sequence of Tensor
            (1, 1, [Z,] Y, X) probability of each class; above 0.5 the largest decides.
        target : Tensor
            (1, classes, [Z,] Y, X).
        counted : Tensor of bool
            (1, 1, [Z,] Y, X).
        """
        largest, which = torch.cat(list(maps), 1).max(1, keepdim=True)
        for number in range(len(self.names)):
            predicted = (which == number) & (largest > 0.5) & counted
            true = (target[:, number : number + 1] > 0.5) & counted
            both = predicted & true
            self.voxels[number] += torch.stack([n.sum() for n in (true, predicted, both)]).cpu()

    def scores(self, voxels: Tensor) -> dict[str, float]:
        """Return Dice and IoU: ``val/dice_NAME`` of each class, ``val/dice`` their mean.

        A class that is neither there nor found is right: 1.

        Parameters
        ----------
        voxels : Tensor
            As the attribute; of several processes their sum.
        """
        true, predicted, both = voxels.double().unbind(1)
        total = true + predicted
        dice = torch.where(total > 0, 2 * both / total.clamp(min=1), 1.0)
        iou = torch.where(total > 0, both / (total - both).clamp(min=1), 1.0)
        found = {"val/dice": float(dice.mean()), "val/iou": float(iou.mean())}
        each = zip(self.names, dice.tolist(), iou.tolist(), strict=True)
        for name, one, other in each:
            found |= {f"val/dice_{name}": one, f"val/iou_{name}": other}
        return found
