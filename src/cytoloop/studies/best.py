"""The best combination of a study as an experiment, ready to train."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from cytoloop.io.atomic import replacing
from cytoloop.studies.report import StudyReport
from cytoloop.studies.runs import Run
from cytoloop.studies.settings import ENSEMBLE, StudySettings

BEST_FILE = "best.yaml"


def write_best(overrides: Sequence[str], title: str, conclusion: str, folder: Path) -> Path:
    """Write ``best.yaml``, an experiment with these overrides of `cytoloop train`; return its path.

    Parameters
    ----------
    overrides : sequence of str
    title : str
        The combination of levels, for people.
    conclusion : str
        What the study says about differences.
    folder : Path
    """
    path = folder / BEST_FILE
    head = (
        "# @package _global_\n"
        f"# The best combination of a study: {title}.\n"
        f"# {conclusion}\n"
        "# Copy it to experiments/experiment/NAME.yaml, then: cytoloop train experiment=NAME "
        "data.path=dataset/\n"
    )
    body = yaml.safe_dump(as_experiment(overrides), sort_keys=False)
    with replacing(path) as temporary:
        temporary.write_text(head + body, encoding="utf-8")
    return path


def write_best_of(
    settings: StudySettings, runs: Sequence[Run], report: StudyReport, folder: Path
) -> None:
    """Write the best combination that was trained here; another tool's predictions are none."""
    by_levels = {tuple(one.combination.names.items()): one.combination for one in runs}
    for ranked in report.ranked:
        levels = {f: level for f, level in ranked.levels.items() if f != ENSEMBLE}
        best = by_levels.get(tuple(levels.items()))
        if best is not None and not best.predictions:
            write_best(best.overrides(settings), best.title, report.conclusion, folder)
            return


def as_experiment(overrides: Sequence[str]) -> dict[str, Any]:
    """Return the content of an experiment: its defaults (config groups) and its values.

    >>> as_experiment(["augmentation=none", "optimizer.lr=0.001"])
    {'defaults': [{'override /augmentation': 'none'}], 'optimizer': {'lr': 0.001}}
    """
    defaults: dict[str, str] = {}
    parents: list[str] = []
    values: dict[str, Any] = {}
    for override in overrides:
        key, _, text = override.lstrip("+").partition("=")
        if key == "experiment":
            parents = [text]
        elif files("cytoloop.configs").joinpath(key).is_dir():
            defaults[key] = text
        else:
            _set(values, key.split("."), yaml.safe_load(text))
    groups = [{f"override /{group}": option} for group, option in defaults.items()]
    entries: list[Any] = [*parents, *groups]
    return {"defaults": entries, **values} if entries else values


def _set(values: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set a nested value."""
    for name in path[:-1]:
        values = values.setdefault(name, {})
    values[path[-1]] = value
