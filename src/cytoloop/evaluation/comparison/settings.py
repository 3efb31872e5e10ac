"""Settings of a comparison: the rule of the verdict, and what is written."""

from __future__ import annotations

from dataclasses import dataclass

from cytoloop.evaluation.metrics import METRICS
from cytoloop.evaluation.settings import (
    MAX_RESAMPLES,
    CheckedSettings,
    flag_problem,
    number_problem,
)


@dataclass(frozen=True)
class VerdictRule(CheckedSettings):
    """How a verdict is reached.

    Attributes
    ----------
    score : str or None
        The main score; None for F1 at .5, or Dice where all truths are masks or classes.
    min_effect : float
        Smallest mean difference that matters, 0 or more.
    min_units : int
        Smallest number of independent units for a verdict, 2 or more.
    resamples, seed : int
        Of the bootstrap; at least 100 resamples.
    """

    verb = "compare"

    score: str | None = None
    min_effect: float = 0.0
    min_units: int = 6
    resamples: int = 10_000
    seed: int = 0

    def problems(self) -> list[str]:
        """Return a line for each invalid value."""
        problems = [
            *number_problem("min_effect", self.min_effect),
            *number_problem("min_units", self.min_units, at_least=2, whole=True),
            *number_problem(
                "resamples", self.resamples, at_least=100, below=MAX_RESAMPLES, whole=True
            ),
            *number_problem("seed", self.seed, whole=True),
        ]
        if self.score is not None and self.score not in METRICS:
            problems.append(f"score={self.score}: expected one of {', '.join(METRICS)}")
        return problems


@dataclass(frozen=True)
class ComparisonSettings(VerdictRule):
    """How evaluations are compared, and what is written.

    Attributes
    ----------
    overlays : int
        Largest number of changed images to draw.
    overwrite : bool
        Remove the files of a former comparison from the output folder first.
    """

    overlays: int = 6
    overwrite: bool = False

    def problems(self) -> list[str]:
        """Return a line for each invalid value."""
        return [
            *super().problems(),
            *number_problem("overlays", self.overlays, whole=True),
            *flag_problem("overwrite", self.overwrite),
        ]
