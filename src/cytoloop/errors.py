"""Errors that a user can repair: where, what was found, what was expected, what to do.

A verb prints a `CytoloopError` without a traceback and exits with status 2; the traceback goes to
the log file. Any other exception is a bug in CytoLoop and is printed with its traceback.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

Result = TypeVar("Result")

DONE, BUG, USER_ERROR, STOPPED = 0, 1, 2, 130
"""Exit statuses of verbs; 130 is what shells use after Ctrl-C."""


def join_names(names: Iterable[str], limit: int = 5) -> str:
    """Return names separated by commas; after `limit` names, the number of further names.

    Examples
    --------
    >>> join_names("abcd", 2)
    'a, b and 2 more'
    """
    known = list(names)
    more = f" and {len(known) - limit} more" if len(known) > limit else ""
    return ", ".join(known[:limit]) + more


def truncate_lines(lines: Sequence[str], limit: int) -> list[str]:
    """Return the first `limit` lines, and a line with the number of further lines.

    Examples
    --------
    >>> truncate_lines(["a", "b", "c"], 2)
    ['a', 'b', '... and 1 more']
    """
    more = [f"... and {len(lines) - limit} more"] if len(lines) > limit else []
    return [*lines[:limit], *more]


class CytoloopError(Exception):
    """An error that the user can repair.

    Parameters
    ----------
    where
        The file, folder, URI or config key that is wrong.
    problems
        One line per problem: what was found and what was expected. List all problems, not only
        the first.
    repair
        What to do, in one sentence.
    """

    def __init__(self, where: str, problems: str | Iterable[str], repair: str = "") -> None:
        self.where = str(where)
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        self.repair = repair
        super().__init__(self.render())

    def __reduce__(self) -> tuple[type, tuple[str, list[str], str]]:
        """Return how to pickle the error: parallel workers send their errors to the parent."""
        return type(self), (self.where, self.problems, self.repair)

    def render(self) -> str:
        """Return the message for the terminal, without the class name."""
        if len(self.problems) == 1:
            lines = [f"{self.where}: {self.problems[0]}"]
        else:
            lines = [f"{self.where}: {len(self.problems)} problems"]
            lines += [f"  {problem}" for problem in self.problems]
        if self.repair:
            lines.append(self.repair)
        return "\n".join(lines)


class ConfigError(CytoloopError, ValueError):
    """An invalid config value or override."""


class ManifestError(CytoloopError, ValueError):
    """An invalid manifest or row."""


class ImageError(CytoloopError, ValueError):
    """An image that cannot be read, or does not fit the other images of its row."""


class ModelError(CytoloopError, ValueError):
    """A checkpoint or model URI that does not exist, cannot be read, or is unsafe to load."""


class OutputError(CytoloopError, ValueError):
    """An output folder that cannot or must not be written to."""


class MissingPackageError(CytoloopError, ImportError):
    """An optional package that is not installed."""


class Faults:
    """Errors of several steps, raised as one: a user repairs all of them at once."""

    def __init__(self) -> None:
        self.errors: list[CytoloopError] = []

    def attempt(self, call: Callable[[], Result]) -> Result | None:
        """Return the result of a call; None if it raises an error that the user can repair."""
        try:
            return call()
        except CytoloopError as error:
            self.errors.append(error)
            return None

    def raise_all(self, where: str, general: Sequence[str] = ()) -> None:
        """Raise the errors, if there are any: a single one as it is.

        Parameters
        ----------
        where : str
            The verb.
        general : sequence of str
            Places of errors that say no more than `where`; they are left out.

        Raises
        ------
        CytoloopError
        """
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            problems = [
                one if error.where in (where, *general) else f"{error.where}: {one}"
                for error in self.errors
                for one in error.problems
            ]
            repairs = dict.fromkeys(error.repair for error in self.errors if error.repair)
            raise ConfigError(where, problems, " ".join(repairs))
