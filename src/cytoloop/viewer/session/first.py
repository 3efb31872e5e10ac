"""A first segmentation of images without labels: by a shipped model or a classic workflow."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from cytoloop.errors import ConfigError
from cytoloop.pretrained.shipped import SCHEME, shipped_models
from cytoloop.viewer.session.commands import Words

_WORKFLOW = "workflow: "


def first_methods() -> list[str]:
    """Return what can segment without a label: the shipped models, then the workflows."""
    folder = files("cytoloop.configs") / "workflow"
    names = sorted(Path(one.name).stem for one in folder.iterdir() if one.name.endswith(".yaml"))
    return [*(f"{SCHEME}{name}" for name in shipped_models()), *(_WORKFLOW + n for n in names)]


def first_verb(method: str) -> str:
    """Return the verb of a method."""
    return "classic" if method.startswith(_WORKFLOW) else "predict"


def first_words(values: Mapping[str, str]) -> Words:
    """Return the words of `cytoloop predict` or `cytoloop classic`.

    Parameters
    ----------
    values : mapping of str to str
        ``method``, ``raw``, ``first``, ``diameter``, ``channel``, ``spacing_um``.

    Raises
    ------
    ConfigError
        A field is empty or no number; all of them at once.
    """
    labels = {"raw": "Images", "first": "First labels"}
    problems = [f"{label} is empty" for key, label in labels.items() if not values.get(key)]
    method, diameter = values["method"], values.get("diameter", "")
    is_model = first_verb(method) == "predict"
    if is_model and diameter and not _is_size(diameter):
        problems.append(f"Object size: {diameter!r}, expected auto or a number above 0")
    if problems:
        raise ConfigError("first segmentation", problems, "Correct these fields.")
    words = [f"input={values['raw']}", f"output={values['first']}"]
    words += [f"{key}={values[key]}" for key in ("channel", "spacing_um") if values.get(key)]
    if not is_model:
        return [f"workflow={method.removeprefix(_WORKFLOW)}", *words, "overwrite=true"]
    size = [f"object_diameter_um={diameter}"] if diameter else []
    return [f"checkpoint={method}", *words, *size]


def _is_size(text: str) -> bool:
    try:
        return text == "auto" or float(text) > 0
    except ValueError:
        return False
