"""Overrides as typed by the user, quoted for Hydra's grammar.

Hydra reads ``key=(?P<id>a)`` as a function call and refuses ``checkpoint=epoch=3.ckpt``. Paths,
patterns and URIs are text, so their values are quoted here.
"""

from __future__ import annotations

import re

_TEXT_KEYS = {
    "curate": (
        *("raw", "seg1", "seg2", "merge", "exclude", "output", "key", "group"),
        *("parent", "decisions", "predictions", "channel", "scene", "scene_seg1", "scene_seg2"),
        "exclude_rules",
    ),
    "annotate": ("data.path", "project", "output", "title"),
    "check": ("data.path", "plan"),
    "train": ("data.path", "data.replay_path", "output", "init_from", "resume", "rerun", "plan"),
    "predict": ("input", "output", "checkpoint", "reprocess"),
    "evaluate": ("predictions", "truth", "annotator2", "output"),
    "compare": ("a", "b", "output"),
    "models": ("checkpoint", "name", "output", "a", "b", "truth", "input"),
    "history": ("checkpoint", "output"),
    "status": ("run",),
    "cancel": ("run",),
}
"""Keys whose values are text, by verb."""

_NOT_QUOTED = re.compile(r"null|true|false|'.*'|\".*\"|\$\{.*\}|", re.IGNORECASE | re.DOTALL)

_VERBS_WITH_ACTION = ("models",)
"""Verbs whose first word is an action: ``cytoloop models list``."""


def add_action(verb: str, words: list[str]) -> list[str]:
    """Return the words with the action of the verb as an override, ``action=list``.

    >>> add_action("models", ["show", "checkpoint=nuclei"])
    ['action=show', 'checkpoint=nuclei']
    """
    has_action = words and not is_override(words[0]) and not words[0].startswith("-")
    if verb in _VERBS_WITH_ACTION and has_action:
        return [f"action={words[0]}", *words[1:]]
    return words


def quote_overrides(verb: str, words: list[str]) -> list[str]:
    """Return the words with text values in quotes.

    Parameters
    ----------
    verb : str
    words : list of str
        Overrides and flags as typed.
    """
    is_sweep = "--multirun" in words or "-m" in words
    quoted = []
    for word in words:
        key, equals, value = word.partition("=")
        if equals and key in _TEXT_KEYS.get(verb, ()):
            if not (_NOT_QUOTED.fullmatch(value) or (is_sweep and "," in value)):
                value = quote(value)
            word = f"{key}={value}"
        quoted.append(word)
    return quoted


def is_override(word: str) -> bool:
    """Return whether a word is an override: ``key=value``, ``+key=value`` or ``~key``."""
    return word.startswith("~") or ("=" in word and not word.startswith("-"))


def bare_key(override: str) -> str:
    """Return the key of an override without value and prefix.

    >>> bare_key("+model.x=1"), bare_key("~data")
    ('model.x', 'data')
    """
    return override.partition("=")[0].lstrip("~+")


def quote(value: str) -> str:
    r"""Return a text in single quotes, escaped for Hydra's grammar.

    >>> quote("it's")
    "'it\\'s'"
    """
    text = re.sub(r"(\\*)'", lambda match: match[1] * 2 + r"\'", value)
    tail = re.search(r"\\*$", text)
    return f"'{text}{tail[0] if tail else ''}'"
