"""Faults that the dry run finds: collected, and raised as one error."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from cytoloop.errors import ConfigError, CytoloopError

_NOT_FOUND = "Error locating target"  # how Hydra's message begins
_REPAIR = "See `cytoloop train --cfg job` for the whole config."


class Faults:
    """The faults of the parts, collected: key of the config and error."""

    def __init__(self) -> None:
        self.found: list[tuple[str, Exception]] = []

    def attempt(self, key: str, action: Callable[[], Any]) -> Any:
        """Return the result of an action; None, and a fault, if it fails."""
        try:
            return action()
        except Exception as error:  # whatever a class says about its arguments
            self.found.append((key, error))
            return None


def raise_faults(faults: list[tuple[str, Exception]]) -> None:
    """Raise the faults: a single one of ours as it is, others as one ConfigError."""
    if not faults:
        return
    causes = [(key, _cause(error)) for key, error in faults]
    if len(causes) == 1 and isinstance(causes[0][1], CytoloopError):
        raise causes[0][1]
    lines = [(where, fault) for key, cause in causes for where, fault in _described(key, cause)]
    last = faults[-1][1]
    if len(lines) == 1:
        raise ConfigError(*lines[0], _REPAIR) from last
    raise ConfigError("config", [f"{where}: {fault}" for where, fault in lines], _REPAIR) from last


def _cause(error: BaseException) -> BaseException:
    """Return the error of a class, or of a name that is not found, inside Hydra's error."""
    while error.__cause__ is not None and not isinstance(error, CytoloopError):
        if str(error).startswith(_NOT_FOUND):
            break
        error = error.__cause__
    return error


def _described(key: str, error: BaseException) -> Iterator[tuple[str, str]]:
    """Yield where each fault of an error is, and what it is."""
    if isinstance(error, CytoloopError):
        yield from ((error.where, problem) for problem in error.problems)
        return
    text = " ".join(str(error).split()) or type(error).__name__
    if text.startswith(_NOT_FOUND):
        inner = re.search(r"full_key: (\S+)$", text)
        name = text.removeprefix(_NOT_FOUND).partition(", set env var")[0]
        yield (
            f"{_full_key(key, inner)}._target_",
            f"{name.strip()} is not found ({error.__cause__})",
        )
    else:
        yield key, text[:500]


def _full_key(key: str, inner: re.Match[str] | None) -> str:
    """Return the key of a node inside a part, from Hydra's ``full_key``."""
    return f"{key}.{inner[1]}" if inner and inner[1] != key else key
