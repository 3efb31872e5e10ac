"""A search of combinations by Optuna: those that look good by the runs so far come next.

TPE (Bergstra et al. 2011) suggests; a combination that is worse than the median of the others after
as many validations is ended (pruning). The score is that of validation images: the test images of
the report do not choose. The journal file keeps the trials: a search that was killed goes on.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cytoloop.extras import import_extra
from cytoloop.studies.design import Combination
from cytoloop.studies.runs import DONE, PRUNED, Run
from cytoloop.studies.settings import StudySettings
from cytoloop.tracking.output_folder import PROGRESS_FILE, read_final_scores

log = logging.getLogger(__name__)

JOURNAL = "optuna.journal"
_STARTUP = 6
"""Combinations that are drawn at random, before TPE suggests and pruning begins."""
_TRIES = 20


class Search:
    """The trials of a search.

    Parameters
    ----------
    settings : StudySettings
    folder : Path
        Of the study; holds the journal.

    Raises
    ------
    MissingPackageError
        Optuna is not installed.
    """

    def __init__(self, settings: StudySettings, folder: Path) -> None:
        optuna, journal = import_extra(
            "design=optuna", "study", "optuna", "optuna.storages.journal"
        )
        self._optuna, self.settings = optuna, settings
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        folder.mkdir(parents=True, exist_ok=True)
        backend = journal.JournalFileBackend(str(folder / JOURNAL))
        names = {factor: [one.name for one in own] for factor, own in settings.factors.items()}
        digest = hashlib.sha256(json.dumps(names, sort_keys=True).encode()).hexdigest()[:8]
        self.study = optuna.create_study(
            storage=optuna.storages.JournalStorage(backend),
            study_name=f"levels_{digest}",  # other levels are another search
            direction="maximize",
            load_if_exists=True,
            sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=_STARTUP),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=_STARTUP, n_warmup_steps=1),
        )
        self.trials: dict[tuple[str, ...], Any] = {}
        self._reported: dict[str, int] = {}
        for trial in self.study.get_trials(deepcopy=False):
            if trial.state == optuna.trial.TrialState.RUNNING:  # of a process that was killed
                self.study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
                self.study.enqueue_trial(trial.params)
        if not self.study.get_trials(deepcopy=False):
            self.study.enqueue_trial({factor: own[0] for factor, own in names.items()})

    @property
    def known(self) -> list[Combination]:
        """All combinations that were suggested, the first one first."""
        levels = {f: {one.name: one for one in own} for f, own in self.settings.factors.items()}
        found: dict[tuple[str, ...], Combination] = {}
        for trial in self.study.get_trials(deepcopy=False):
            if set(trial.params) == set(levels):
                chosen = {factor: levels[factor][trial.params[factor]] for factor in levels}
                found.setdefault(_names(Combination(chosen)), Combination(chosen))
        return list(found.values())

    def ask(self, count: int) -> list[Combination]:
        """Return up to so many new combinations; none when the search is over."""
        asked: list[Combination] = []
        every = math.prod(len(own) for own in self.settings.factors.values())
        wanted = min(self.settings.samples, every)
        done = {
            tuple(trial.params[f] for f in self.settings.factors)
            for trial in self.study.get_trials(states=[self._optuna.trial.TrialState.COMPLETE])
        }
        for _ in range(_TRIES * wanted):
            finished = {_names(one) for one in self.known}
            is_over = len(finished) >= wanted and not self._has_waiting()
            if len(asked) >= count or is_over:
                break
            trial = self.study.ask()
            names = {
                factor: trial.suggest_categorical(factor, [one.name for one in own])
                for factor, own in self.settings.factors.items()
            }
            key = tuple(names.values())
            if key in done or key in self.trials:  # nothing new: told by what is known
                self._repeat(trial, key)
                continue
            self.trials[key] = trial
            levels = {
                factor: next(one for one in own if one.name == names[factor])
                for factor, own in self.settings.factors.items()
            }
            asked.append(Combination(levels))
        return asked

    def is_hopeless(self, run: Run) -> bool:
        """Report the new validation scores of a training; return whether it shall end.

        Only trainings of the first seed (and fold) are watched.
        """
        trial = self.trials.get(_names(run.combination))
        if trial is None or run.seed != self.settings.seeds[0] or run.fold not in (None, 1):
            return False
        scores = validation_scores(run.folder)
        known = self._reported.get(run.key, 0)
        for step, score in enumerate(scores[known:], known):
            trial.report(score, step)
        self._reported[run.key] = len(scores)
        return len(scores) > known and bool(trial.should_prune())

    def tell(self, runs: Sequence[Run]) -> None:
        """Tell Optuna the results of all trials whose runs have ended."""
        states = self._optuna.trial.TrialState
        for key, trial in list(self.trials.items()):
            own = [run for run in runs if _names(run.combination) == key and run.is_training]
            if own and all(run.status == DONE for run in own):
                self.study.tell(trial, sum(map(final_score, own)) / len(own))
            elif any(run.status == PRUNED for run in own):
                self.study.tell(trial, state=states.PRUNED)
            elif any(run.attempts for run in own):
                self.study.tell(trial, state=states.FAIL)
            else:  # stopped: the next call goes on
                continue
            del self.trials[key]

    def _has_waiting(self) -> bool:
        waiting = self._optuna.trial.TrialState.WAITING
        return bool(self.study.get_trials(deepcopy=False, states=[waiting]))

    def _repeat(self, trial: Any, key: tuple[str, ...]) -> None:
        """End a trial of a combination that is known."""
        states = self._optuna.trial.TrialState
        for other in self.study.get_trials(deepcopy=False, states=[states.COMPLETE]):
            if tuple(other.params[factor] for factor in self.settings.factors) == key:
                self.study.tell(trial, other.value)
                return
        self.study.tell(trial, state=states.FAIL)


def validation_scores(folder: Path) -> list[float]:
    """Return the score of each validation so far, higher is better, from ``progress.jsonl``."""
    try:
        text = (folder / PROGRESS_FILE).read_text(encoding="utf-8")
    except OSError:
        return []
    found = []
    for line in text.splitlines():
        try:
            event = json.loads(line)
        except ValueError:  # being written
            continue
        if event.get("event") == "validation" and isinstance(event.get("scores"), dict):
            found.append(_main_score(event["scores"]))
    return [score for score in found if math.isfinite(score)]


def final_score(run: Run) -> float:
    """Return the score that chose the checkpoint of a finished training, higher is better."""
    scores = read_final_scores(run.folder) or {}
    return _main_score({name: v for name, v in scores.items() if name.startswith("val/")})


def _main_score(scores: dict[str, float]) -> float:
    """Return ``val/pq``, else Dice, else minus the loss."""
    for name in ("val/pq", "val/dice"):
        if name in scores:
            return float(scores[name])
    return -float(scores["val/loss"]) if "val/loss" in scores else math.nan


def _names(combination: Combination) -> tuple[str, ...]:
    return tuple(combination.names.values())
