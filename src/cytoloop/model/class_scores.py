"""Scores of classes over whole validation images, from voxels counted image by image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cytoloop.evaluation.counts.voxels import COUNTS
from cytoloop.evaluation.metrics import SEMANTIC, TRAINING, metrics_shown_in


class ClassCounts:
    """Voxels of each class added up over all images, and the scores computed from them.

    The counts are added up because most images may not show a rare class: the mean over images
    would depend on the images without it.

    Parameters
    ----------
    names : sequence of str
        Classes; empty without classes.

    Attributes
    ----------
    voxels : Tensor of int64
        (classes, 3): true, predicted, and both true and predicted voxels.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.reset()

    def reset(self) -> None:
        """Set all counts to 0."""
        self.voxels = torch.zeros(len(self.names), len(COUNTS), dtype=torch.int64)

    def add(self, maps: Sequence[Tensor], target: Tensor, counted: Tensor) -> None:
        """Count the voxels of an image.

        Parameters
        ----------
        maps : sequence of Tensor
            (1, 1, [Z,] Y, X) probability of each class. A voxel belongs to the class with the
            largest probability if that is above 0.5.
        target : Tensor
            (1, classes, [Z,] Y, X).
        counted : Tensor of bool
            (1, 1, [Z,] Y, X); False = excluded.
        """
        largest, which = torch.cat(list(maps), 1).max(1, keepdim=True)
        for number in range(len(self.names)):
            predicted = (which == number) & (largest > 0.5) & counted
            true = (target[:, number : number + 1] > 0.5) & counted
            both = predicted & true
            self.voxels[number] += torch.stack([n.sum() for n in (true, predicted, both)]).cpu()

    def scores(self, voxels: Tensor) -> dict[str, float]:
        """Return ``val/dice_NAME`` of each class, and their mean ``val/dice``; other metrics too.

        A class without true and predicted voxels scores 1.

        Parameters
        ----------
        voxels : Tensor
            (classes, 3) like the attribute; summed over processes where there are several.
        """
        metrics = [m for m in metrics_shown_in(TRAINING) if m.group == SEMANTIC and m.per_class]
        counts = [dict(zip(COUNTS, row, strict=True)) for row in voxels.tolist()]
        each = {metric.name: [metric.score(own) for own in counts] for metric in metrics}
        means = {
            f"val/{metric}": float(torch.tensor(values, dtype=torch.float64).mean())
            for metric, values in each.items()
        }
        return means | {
            f"val/{metric}_{name}": value
            for metric, values in each.items()
            for name, value in zip(self.names, values, strict=True)
        }
