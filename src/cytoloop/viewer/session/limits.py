"""The advanced fields of a training: ranges and the nearest valid values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The range of a number.

    Attributes
    ----------
    label, help : str
        Name of the field, and what it does.
    low, high : float
    step : int
        Valid values are multiples of it; 0 for any number.
    """

    label: str
    help: str
    low: float
    high: float
    step: int = 1

    def problems(self, text: str) -> list[str]:
        """Return what is wrong with a typed value, with the nearest valid values; [] if nothing."""
        try:
            value = float(text)
        except ValueError:
            return [f"{self.label}: {text!r} is not a number"]
        if not self.low <= value <= self.high:
            near = f"{min(max(value, self.low), self.high):g}"
            return [
                f"{self.label}: {text}, expected {self.low:g} to {self.high:g}; nearest: {near}"
            ]
        if self.step and value % self.step:
            below = value // self.step * self.step
            near = " or ".join(
                f"{one:g}" for one in (below, below + self.step) if self.low <= one <= self.high
            )
            what = "a whole number" if self.step == 1 else f"a multiple of {self.step}"
            return [f"{self.label}: {text}, expected {what}; nearest: {near}"]
        return []


ADVANCED = {
    "data.patch_size": Limits(
        "Patch size", "side of a training patch in Y and X, in pixels", 32, 256, 4
    ),
    "data.patches_per_image": Limits(
        "Patches per image", "patches of each image in an epoch", 1, 100
    ),
    "data.batch_size": Limits("Batch size", "patches that are learned together", 1, 32),
    "features": Limits("Features", "features at the first level of the network", 4, 128, 4),
    "layers": Limits("Layers", "levels of the network", 2, 6),
    "model.optimizer.lr": Limits("Learning rate", "size of a step of the optimizer", 1e-5, 2e-3, 0),
    "trainer.max_epochs": Limits("Epochs", "passes over the training images", 1, 500),
}
"""Key of `cytoloop train` to its range: those of the Segmentation module's wizard."""
