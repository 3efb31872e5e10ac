"""Errors that a user can mend: where, what was found, what was expected, how to repair.

Every verb turns a `CytoloopError` into a few lines on the terminal and exit status 2; the
traceback goes to the log file. Anything else is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def join_names(names: Iterable[str], most: int = 5) -> str:
    """Return names in a row, of many the first ones and how many more there are.

    >>> join_names("abcd", 2)
    'a, b and 2 more'
    """
    known = list(names)
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return ", ".join(known[:most]) + more


def truncate_lines(lines: Sequence[str], most: int) -> list[str]:
    """Return lines, of many the first ones and a line that says how many more there are.

    >>> truncate_lines(["a", "b", "c"], 2)
    ['a', 'b', '... and 1 more']
    """
    more = [f"... and {len(lines) - most} more"] if len(lines) > most else []
    return [*lines[:most], *more]


class CytoloopError(Exception):
    """A mistake that the user can repair.

    Parameters
    ----------
    where
        The file, folder, URI or config key that is wrong.
    problems
        One line per fault: what was found and what was expected. All of them, not the first.
    repair
        What to do about it, one sentence.
    """

    def __init__(self, where: str, problems: str | Iterable[str], repair: str = "") -> None:
        self.where = str(where)
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        self.repair = repair
        super().__init__(self.render())

    def __reduce__(self) -> tuple[type, tuple[str, list[str], str]]:
        """Survive a process boundary (parallel workers pickle their errors)."""
        return type(self), (self.where, self.problems, self.repair)

    def render(self) -> str:
        """Return the message as the terminal shows it, without the class name."""
        if len(self.problems) == 1:
            lines = [f"{self.where}: {self.problems[0]}"]
        else:
            lines = [f"{self.where}: {len(self.problems)} problems"]
            lines += [f"  {problem}" for problem in self.problems]
        if self.repair:
            lines.append(self.repair)
        return "\n".join(lines)


class ConfigError(CytoloopError, ValueError):
    """A config value or override that cannot work."""


class ManifestError(CytoloopError, ValueError):
    """A manifest, or a row of one, that cannot be used."""


class ImageError(CytoloopError, ValueError):
    """An image file that cannot be read or does not fit its partners."""


class ModelError(CytoloopError, ValueError):
    """A checkpoint or model URI that cannot be found, read or trusted."""


class OutputError(CytoloopError, ValueError):
    """An output folder that must not be written to, or cannot be."""
