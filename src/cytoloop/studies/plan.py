"""The runs of a study, each with its config, its data and its folder, before any is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from cytoloop.errors import ConfigError, CytoloopError, ManifestError
from cytoloop.manifest import Manifest, dataset_hash, read_dataset
from cytoloop.studies.design import Combination, combinations
from cytoloop.studies.folds import fold_datasets
from cytoloop.studies.identity import Composed, asked_key, known_folders, run_key
from cytoloop.studies.runs import Run
from cytoloop.studies.settings import StudySettings
from cytoloop.studies.subsets import choose_rows, write_subset

Compose = Callable[[list[str]], Composed]
"""Overrides of `cytoloop train` to what identifies the training."""


def plan_runs(
    settings: StudySettings,
    data: Path,
    output: Path,
    experiment_name: str,
    compose: Compose,
    chosen: Sequence[Combination] | None = None,
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
    chosen : sequence of Combination, optional
        Default: those of the design.

    Raises
    ------
    ConfigError
        All overrides that are wrong, and levels that train the same.
    ManifestError
        The data set cannot be read, or has no test images of its own.
    """
    datasets = dict(_datasets(data, settings.folds))
    shared_test = _have_one_test(datasets)
    compose([*settings.base, f"data.path={data}"])  # its faults once, not for each level
    problems: list[str] = []
    found: list[Run] = []
    digests: dict[Path, str] = {}
    folders = known_folders(output)
    for combination, (fold, dataset) in product(chosen or combinations(settings), datasets.items()):
        if combination.predictions and fold is not None and shared_test:
            if fold > 1:
                continue  # the same test images with each fold
            fold = None
        try:
            rows = choose_rows(dataset["train"].rows, combination.train_fraction, combination.where)
            folder = data.absolute()
            if len(rows) < len(dataset["train"]) or settings.folds:
                parts = dict(dataset) | {"train": Manifest(dataset["train"].path, rows)}
                folder = write_subset(parts, output / "data")
            if folder not in digests:
                digests[folder] = dataset_hash(read_dataset(folder))
            overrides, tool = combination.overrides(settings), combination.predictions
            words = [*overrides, f"data.path={folder}"]
            composed = Composed({}, {}) if tool else compose(words)
            for seed in _seeds(combination, settings):
                own = {} if tool else {**composed.config, "seed": seed}
                asked = asked_key(overrides, composed.site, digests[folder], seed, tool)
                config = run_key(own, digests[folder], tool)
                place = _folder_of(asked, config, folders, output)
                all_words = (*words, f"seed={seed}", f"experiment_name={experiment_name}")
                one = Run(combination, seed, place.name, place, all_words, folder, len(rows), fold)
                found.append(replace(one, asked=asked, config=config))
        except CytoloopError as error:
            problems += [f"{combination.title}: {fault}" for fault in error.problems]
    if problems:
        raise ConfigError("cytoloop study", problems, "Repair base= or the levels of factors.")
    _refuse_equal(found)
    if settings.folds and shared_test:
        found += list(_ensembles(found, output, folders))
    order = {seed: number for number, seed in enumerate(settings.seeds)}
    return sorted(found, key=lambda one: (bool(one.members), order[one.seed]))


def _folder_of(asked: str, config: str, folders: Mapping[str, Path], output: Path) -> Path:
    """Return the folder of a run: a known one of the same request or config, else a new one."""
    return folders.get(asked) or folders.get(config) or output / "runs" / asked


def _datasets(data: Path, folds: int | None) -> Iterator[tuple[int | None, dict[str, Manifest]]]:
    """Yield the data set of each fold, or the data set as it is under None."""
    if folds is None:
        yield None, _read_data(data)
    else:
        yield from fold_datasets(read_dataset(data), folds)


def _have_one_test(datasets: Mapping[Any, Mapping[str, Manifest]]) -> bool:
    """Return whether the folds share their test images."""
    return len({frozenset(row.id for row in one["test"]) for one in datasets.values()}) == 1


def _ensembles(runs: Sequence[Run], output: Path, folders: Mapping[str, Path]) -> Iterator[Run]:
    """Yield the ensemble of the folds of each combination and seed."""
    members: dict[tuple[str, int], list[Run]] = {}
    for one in runs:
        if one.is_training:
            members.setdefault((one.combination.title, one.seed), []).append(one)
    for own in members.values():
        first = own[0]
        asked, config = (
            run_key({"members": members}, "")
            for members in ([one.asked for one in own], [one.config for one in own])
        )
        place = _folder_of(asked, config, folders, output)
        images = max(one.images for one in own)
        yield replace(
            first,
            key=place.name,
            folder=place,
            asked=asked,
            config=config,
            images=images,
            fold=None,
            members=tuple(own),
        )


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
        other = by_key.setdefault(one.config, one)
        if other is not one and one.seed == runs[0].seed and one.fold == runs[0].fold:
            problems.append(f"{one.title} is the same training as {other.title}")
    if problems:
        raise ConfigError(
            "factors", problems, "Give levels with other overrides, or remove one of the two."
        )
