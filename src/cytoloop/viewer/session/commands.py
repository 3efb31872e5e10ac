"""The command line that does what was clicked: the same words are run and shown."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from cytoloop.curation.exchange.registry import DATASET_FORMATS, find_format
from cytoloop.errors import ConfigError
from cytoloop.urls import is_remote
from cytoloop.viewer.session.limits import ADVANCED

Words = list[str]


def command_text(verb: str, words: Words) -> str:
    """Return the command as a user types it.

    >>> command_text("curate", ["raw=my images", "output=dataset"])
    "cytoloop curate 'raw=my images' output=dataset"
    """
    return shlex.join(["cytoloop", verb, *words])


def curate_words(values: Mapping[str, str]) -> Words:
    """Return the words of `cytoloop curate` for the fields of the panel Data.

    Parameters
    ----------
    values : mapping of str to str
        ``raw``, ``seg1``, ``seg2``, ``output``, ``channel``, ``spacing_um``, ``key`` ...; empty
        ones are left out.

    Raises
    ------
    ConfigError
        A required field is empty; all of them at once.
    """
    table = values.get("raw", "").lower().endswith((".csv", ".tsv", ".xlsx", ".parquet"))
    required = {"raw": "Images", "output": "Data set"}
    if not table and not _is_dataset_folder(values.get("raw", "")):
        required["seg1"] = "Segmentations"
    _require("data", values, required)
    return _given(values)


def next_round_words(folder: str | Path, predictions: str = "") -> Words:
    """Return the words of `cytoloop curate` that apply the decisions on a data set."""
    words = [f"output={folder}", "report=true"]
    return [*words, f"predictions={predictions}"] if predictions else words


def combine_words(values: Mapping[str, str]) -> Words:
    """Return the words of `cytoloop combine`.

    Raises
    ------
    ConfigError
        A field is empty; all of them at once.
    """
    _require("combine", values, {"data.path": "Data set", "logs": "Other log"})
    return _given(values)


def train_words(values: Mapping[str, str]) -> Words:
    """Return the words of `cytoloop train` for the fields of the panel Train.

    Raises
    ------
    ConfigError
        A required field is empty, or a number is out of its range; all of them at once.
    """
    required = {"data.path": "Data set", "output": "Model folder"}
    problems = [f"{label} is empty" for key, label in required.items() if not values.get(key)]
    problems += _path_problems("Data set", values.get("data.path", ""))
    for key, limits in ADVANCED.items():
        if values.get(key):
            problems += limits.problems(values[key])
    if values.get("budget_minutes"):
        problems += _number_problems("Minutes", values["budget_minutes"])
    if problems:
        raise ConfigError("train", problems, "Correct these fields.")
    ordered = {"experiment": values.get("experiment", "auto"), **values}
    return [*_given(ordered), "background=true"]


def recipes() -> list[str]:
    """Return the names of the recipes that ship with the package, ``auto`` first."""
    folder = files("cytoloop.configs") / "experiment"
    names = {Path(one.name).stem for one in folder.iterdir() if one.name.endswith(".yaml")}
    return ["auto", *sorted(names - {"auto"})]


def plan_words(values: Mapping[str, str]) -> Words:
    """Return the words of `cytoloop check` that show what a training would do.

    Raises
    ------
    ConfigError
        The data set is missing.
    """
    _require("train", values, {"data.path": "Data set"})
    known = ("data.path", "experiment", "budget_minutes", "model/size", "layers", "augmentation")
    chosen = {key: values.get(key, "") for key in known}
    chosen |= {key: text for key, text in values.items() if key.startswith("data.")}
    return [*_given(chosen), "plan=true"]


def predict_words(values: Mapping[str, str]) -> Words:
    """Return the words of `cytoloop predict` for the fields of the panel Predict.

    Raises
    ------
    ConfigError
        A required field is empty; all of them at once.
    """
    _require("predict", values, {"checkpoint": "Model", "input": "Images", "output": "Results"})
    return _given(values)


def reprocess_words(table: Path, settings: Mapping[str, float], output: str = "") -> Words:
    """Return the words that apply settings of post-processing to all stored maps of a table."""
    words = [f"reprocess={table}", "postprocess=value"]
    words += [f"postprocess.{name}={value:g}" for name, value in settings.items()]
    return [*words, f"output={output}"] if output else words


def _given(values: Mapping[str, str]) -> Words:
    return [f"{key}={value}" for key, value in values.items() if str(value).strip()]


def _require(where: str, values: Mapping[str, str], required: Mapping[str, str]) -> None:
    missing = [f"{label} is empty" for key, label in required.items() if not values.get(key)]
    if missing:
        raise ConfigError(where, missing, "Fill in these fields.")


def _path_problems(label: str, text: str) -> list[str]:
    """Return what is wrong with a path: a training in the background would say it too late."""
    if not text or is_remote(text) or Path(text).exists():
        return []
    return [f"{label}: {text}: no such file or folder"]


def _number_problems(label: str, text: str) -> list[str]:
    try:
        return [] if float(text) > 0 else [f"{label}: {text}, expected more than 0"]
    except ValueError:
        return [f"{label}: {text!r} is not a number"]


def _is_dataset_folder(text: str) -> bool:
    """Return whether a folder is a data set of another program, with rows instead of images."""
    return bool(text) and find_format(DATASET_FORMATS, Path(text)) is not None
