"""The glossary: terms of the field, in two sentences each, for pages and help texts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Term:
    """A term of the glossary.

    Attributes
    ----------
    name : str
    text : str
        Two sentences: what it is, and what follows from it.
    where : str
        Where it is in CytoLoop, in Markdown.
    also : tuple of str
        Other names for it.
    """

    name: str
    text: str
    where: str
    also: tuple[str, ...] = ()


@cache
def terms() -> tuple[Term, ...]:
    """Return all terms, sorted by name."""
    import yaml

    entries = yaml.safe_load(files("cytoloop").joinpath("glossary.yaml").read_text("utf-8"))
    found = [
        Term(str(name), entry["text"], entry["where"], tuple(entry.get("also", ())))
        for name, entry in entries.items()
    ]
    return tuple(sorted(found, key=lambda term: term.name.lower()))


def find_term(name: str) -> Term | None:
    """Return the term with this name, or with this other name, or None; case does not matter.

    Examples
    --------
    >>> find_term("thresholding value").name
    'threshold'
    """
    wanted = name.casefold()
    for term in terms():
        if wanted in {other.casefold() for other in (term.name, *term.also)}:
            return term
    return None
