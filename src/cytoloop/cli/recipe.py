"""`experiment=auto`: the recipe that suits the labels, chosen before the config is composed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from cytoloop.cli.overrides import bare_key, text_of
from cytoloop.errors import CytoloopError

log = logging.getLogger(__name__)

_AUTO = "auto"
_DECIDED_BY = ("model", "classes", "init_from")
"""Keys that say themselves what is trained."""
_UNDECIDED = ("null", "none", "auto", "")
"""Values of these keys that say nothing about it."""


def choose_auto_recipe(words: Sequence[str]) -> list[str]:
    """Return the words with the recipe of ``experiment=auto`` by its name.

    Nothing is chosen where a key says what is trained, and where the data set cannot be read: its
    faults are reported by the checks of the training, all at once.

    Parameters
    ----------
    words : sequence of str
        Overrides and flags of `cytoloop train`.
    """
    values = {bare_key(word): text_of(word) for word in words if not word.startswith("-")}
    path = values.get("data.path", "")
    if values.get("experiment") != _AUTO or not Path(path).exists() or not path:
        return list(words)
    if any(values.get(key, "null") not in _UNDECIDED for key in _DECIDED_BY):
        return list(words)
    from cytoloop.training.recipe import choose_recipe

    planes: bool | str | None = {"true": True, "false": False, "null": None}.get(
        cell := values.get("data.planes", "null"), cell
    )
    try:
        recipe = choose_recipe(path, planes)
    except CytoloopError as error:
        log.debug("%s", error)
        return list(words)
    if recipe is None:
        return list(words)
    log.info("experiment=%s: the training labels are %s", recipe.name, recipe.reason)
    return [
        f"experiment={recipe.name}" if bare_key(word) == "experiment" else word for word in words
    ]
