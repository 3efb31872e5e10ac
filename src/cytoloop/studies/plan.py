"""The runs of a study, each with its config, its data and its folder, before any is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cytoloop.errors import ConfigError, CytoloopError, ManifestError
from cytoloop.manifest import Manifest, dataset_hash, read_dataset
from cytoloop.studies.design import Combination, combinations
from cytoloop.studies.runs import Run, run_key
from cytoloop.studies.settings import StudySettings
from cytoloop.studies.subsets import choose_rows, write_subset

Compose = Callable[[list[str]], dict[str, Any]]
"""Overrides of `cytoloop train` to what identifies the training: its composed config."""


def plan_runs(
    settings: StudySettings, data: Path, output: Path, experiment_name: str, compose: Compose
) -> list[Run]:
    """Return the runs of a study, those of the first seed first.

    Parameters
    ----------
    settings : StudySettings
    data : Path
        Curated data set.
    output : Path
        Folder of the study.
    experiment_name : str
        MLflow experiment of the trainings.
    compose : callable
        See `Compose`.

    Raises
    ------
    ConfigError
        All overrides that are wrong, and levels that train the same.
    ManifestError
        The data set cannot be read, or has no test images of its own.
    """
    dataset = _read_data(data)
    compose([*settings.base, f"data.path={data}"])  # its faults once, not for each level
    problems: list[str] = []
    found: list[Run] = []
    digests: dict[Path, str] = {}
    for combination in combinations(settings):
        try:
            rows = choose_rows(dataset["train"].rows, combination.train_fraction, combination.where)
            folder = data.absolute()
            if len(rows) < len(dataset["train"]):
                folder = write_subset(dataset, rows, output / "data")
            if folder not in digests:
                digests[folder] = dataset_hash(read_dataset(folder))
            words = [*combination.overrides(settings), f"data.path={folder}"]
            config = {} if combination.predictions else compose(words)
            for seed in _seeds(combination, settings):
                own = {**config, "seed": seed} if config else {}
                key = run_key(own, digests[folder], combination.predictions)
                more = (f"seed={seed}", f"experiment_name={experiment_name}")
                place = output / "runs" / key
                found.append(Run(combination, seed, key, place, (*words, *more), folder, len(rows)))
        except CytoloopError as error:
            problems += [f"{combination.title}: {fault}" for fault in error.problems]
    if problems:
        raise ConfigError("cytoloop study", problems, "Repair base= or the levels of factors.")
    _refuse_equal(found)
    order = {seed: number for number, seed in enumerate(settings.seeds)}
    return sorted(found, key=lambda one: order[one.seed])


def _read_data(data: Path) -> dict[str, Manifest]:
    """Return a data set whose test images are no training or validation images."""
    dataset = read_dataset(data)
    seen = {row.id for split in ("train", "valid") for row in dataset[split]}
    if not len(dataset["test"]) or seen & {row.id for row in dataset["test"]}:
        raise ManifestError(
            str(data),
            "has no test images of its own, which a study scores",
            "Curate it with a fraction test=, or test= and the names of groups.",
        )
    return dataset


def _seeds(combination: Combination, settings: StudySettings) -> Sequence[int]:
    """Return the seeds of a combination; predictions of another tool have none, so one run."""
    return settings.seeds[:1] if combination.predictions else settings.seeds


def _refuse_equal(runs: Sequence[Run]) -> None:
    """Refuse levels that train the same: a comparison of them would say nothing."""
    by_key: dict[str, Run] = {}
    problems = []
    for one in runs:
        other = by_key.setdefault(one.key, one)
        if other is not one and one.seed == runs[0].seed:
            problems.append(f"{one.title} is the same training as {other.title}")
    if problems:
        raise ConfigError(
            "factors", problems, "Give levels with other overrides, or remove one of the two."
        )
