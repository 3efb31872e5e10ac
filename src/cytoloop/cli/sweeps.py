"""Searches by Hydra's Optuna sweeper, answered with the `cytoloop study` that does the same."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from typing import Any

from cytoloop.errors import ConfigError

_FLAGS = {"-m", "--multirun"}
_SWEEPERS = ("hydra/sweeper", "hydra.sweeper", "hparams_search")
_INTERVAL_LEVELS = 4
"""Levels that stand for an interval of numbers."""


def refuse_sweeper(words: Sequence[str]) -> None:
    """Refuse words that start Hydra's Optuna sweeper.

    Raises
    ------
    ConfigError
        With the `cytoloop study` that does the same search.
    """
    keys = {word.lstrip("+").partition("=")[0]: word.partition("=")[2] for word in words}
    search = keys.get("hparams_search")
    if not search and keys.get("hydra/sweeper") != "optuna":
        return
    where = f"hparams_search={search}" if search else "hydra/sweeper=optuna"
    raise ConfigError(
        where,
        "Hydra's Optuna sweeper needs an old Optuna and cannot go on after a stop",
        f"The same search as a study, which goes on:\n  {study_line(words)}",
    )


def study_line(words: Sequence[str]) -> str:
    """Return the `cytoloop study` that searches what the words of a sweep search.

    >>> study_line(["-m", "hydra/sweeper=optuna", "a.lr=1,2"])
    "cytoloop study design=optuna data.path=dataset/ output=study/ \
'factors={lr: {1: [a.lr=1], 2: [a.lr=2]}}'"
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    base, factors, data = [], [], "dataset/"
    parser = OverridesParser.create()
    for word in words:
        key = word.lstrip("+~").partition("=")[0]
        if word in _FLAGS or key.startswith(_SWEEPERS) or key == "output":
            continue
        if key == "data.path":
            data = word.partition("=")[2]
            continue
        try:
            override = parser.parse_override(word)
        except HydraException:
            base.append(word)
            continue
        if not override.is_sweep_override():
            base.append(word)
            continue
        levels = [f"{one}: [{key}={one}]" for one in _levels(override)]
        name = key.replace("/", ".").rpartition(".")[2]
        factors.append(f"{name}: {{{', '.join(levels)}}}")
    given = factors or ["NAME: {a: [KEY=VALUE], b: [KEY=VALUE]}"]
    parts = ["cytoloop study design=optuna", shlex.quote(f"data.path={data}"), "output=study/"]
    parts += [shlex.quote(f"base=[{','.join(base)}]")] if base else []
    return " ".join([*parts, shlex.quote(f"factors={{{', '.join(given)}}}")])


def _levels(override: Any) -> list[str]:
    """Return the values of a sweep as text; an interval gives some, evenly, or by factors."""
    if not override.is_interval_sweep():
        return [str(one) for one in override.sweep_string_iterator()]
    value = override.value()
    low, high = float(value.start), float(value.end)
    steps = [number / (_INTERVAL_LEVELS - 1) for number in range(_INTERVAL_LEVELS)]
    if low > 0 and ("log" in (value.tags or ()) or high / low >= 100):
        found = [math.exp(math.log(low) + s * math.log(high / low)) for s in steps]
    else:
        found = [low + s * (high - low) for s in steps]
    return [f"{one:.3g}" for one in found]
