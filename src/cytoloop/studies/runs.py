"""The runs of a study on disk: what is finished, what goes on, what has failed.

Each run has a folder ``runs/KEY``, whose name is a hash of what was asked of it: a run is the same
run in every later call of the study, also after factors, levels or seeds were added
(`cytoloop.studies.identity`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cytoloop.io.atomic import replacing
from cytoloop.studies.design import Combination
from cytoloop.studies.identity import note_keys
from cytoloop.tracking.output_folder import (
    CONFIG_FILE,
    FINISHED_FILE,
    can_resume,
    read_final_scores,
)

SCORES = "test/evaluation/metrics.csv"
SUMMARY = "test/evaluation/summary.json"
_RUN_FILE = "study_run.json"
LOG_FILE = "run.log"
MAX_ATTEMPTS = 2
"""A run that fails is tried once more."""

DONE, FAILED, STARTED, OPEN = "done", "failed", "started", "open"
PRUNED = "pruned"
"""A search ended the training early, because others were better after as many steps."""


ENDED = (DONE, FAILED, PRUNED)


@dataclass(frozen=True)
class Run:
    """One training of a study, or the predictions of another tool.

    Attributes
    ----------
    combination : Combination
    seed : int
    key : str
        Name of its folder.
    folder : Path
    words : tuple of str
        Overrides of `cytoloop train`, without output folder.
    dataset : Path
        Its data set.
    images : int
        Number of training images.
    fold : int or None
        From 1; None without folds.
    members : tuple of Run
        The trainings of an ensemble; empty for a training.
    asked, config : str
        Hashes of what was asked, and of the composed config, see `cytoloop.studies.identity`.
    """

    combination: Combination
    seed: int
    key: str
    folder: Path
    words: tuple[str, ...]
    dataset: Path
    images: int
    fold: int | None = None
    members: tuple[Run, ...] = ()
    asked: str = ""
    config: str = ""

    @property
    def title(self) -> str:
        """Its levels and its seed, for people."""
        parts = [self.combination.title]
        parts += [] if self.combination.predictions else [f"seed {self.seed}"]
        parts += [f"fold {self.fold}"] if self.fold else []
        return ", ".join([*parts, *(["ensemble"] if self.members else [])])

    @property
    def is_training(self) -> bool:
        """Whether a model is trained: neither another tool's predictions nor an ensemble."""
        return not self.combination.predictions and not self.members

    @property
    def status(self) -> str:
        """`DONE`, `FAILED` (for good), `PRUNED`, `STARTED` (can be resumed) or `OPEN`."""
        is_finished = not self.is_training or read_final_scores(self.folder)
        if is_finished and (self.folder / SCORES).is_file():
            return DONE
        if self._notes().get("pruned"):
            return PRUNED
        if self.attempts >= MAX_ATTEMPTS:
            return FAILED
        return STARTED if can_resume(self.folder) else OPEN

    @property
    def attempts(self) -> int:
        """How often the run has failed."""
        found = self._notes().get("failures", [])
        return len(found) if isinstance(found, list) else 0

    @property
    def minutes(self) -> float | None:
        """Wall time of all its parts, in minutes; None before its end."""
        found = self._notes().get("seconds")
        return float(found) / 60 if isinstance(found, (int, float)) else None

    @property
    def watt_hours(self) -> float | None:
        """Energy of all its parts; None if one of them was not measured."""
        found = self._notes().get("watt_hours")
        return float(found) if isinstance(found, (int, float)) else None

    @property
    def problem(self) -> str:
        """The last lines of its last failure."""
        found = self._notes().get("failures") or [""]
        return str(found[-1])

    def note_keys(self) -> None:
        """Note in its folder by what the run is known; nothing where it has no folder yet."""
        if self.asked and self.folder.is_dir():
            note_keys(self.folder, self.asked, self.config)

    def note(
        self,
        seconds: float,
        failure: str | None = None,
        pruned: bool = False,
        energy: float | None = None,
    ) -> None:
        """Add the time of a part of the run, its failure, whether a search ended it, and its Wh."""
        known = self._notes()
        failures = known.get("failures", []) + ([failure] if failure else [])
        notes = {
            "levels": self.combination.names,
            "seed": self.seed,
            "seconds": float(known.get("seconds", 0)) + seconds,
            "failures": failures,
            "pruned": pruned,
            "watt_hours": _sum(known.get("watt_hours"), energy, first="seconds" not in known),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self.folder / _RUN_FILE) as temporary:
            temporary.write_text(json.dumps(notes, indent=1) + "\n", encoding="utf-8")

    def adopt(self) -> bool:
        """Note a run that ended after its study was killed; return whether it was not noted."""
        if not self.is_training or self.minutes is not None or self.status != DONE:
            return False
        times = [(self.folder / name).stat().st_mtime for name in (CONFIG_FILE, FINISHED_FILE)]
        self.note(max(times[1] - times[0], 0))
        return True

    def _notes(self) -> dict[str, Any]:
        try:
            found = json.loads((self.folder / _RUN_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def _sum(known: object, more: float | None, first: bool) -> float | None:
    """Return a sum whose parts must all be known."""
    if more is None or not (first or isinstance(known, (int, float))):
        return None
    return more + (float(known) if isinstance(known, (int, float)) else 0.0)


def open_runs(runs: Sequence[Run]) -> list[Run]:
    """Return the runs that are left to do; those that can be resumed come first.

    Ensembles come last: they need their trainings.
    """
    left = [run for run in runs if run.status in (STARTED, OPEN)]
    return sorted(left, key=lambda run: (bool(run.members), run.status != STARTED))
