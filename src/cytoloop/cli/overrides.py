"""What a user types, quoted for Hydra's grammar.

Hydra reads ``key=(?P<id>a)`` as a function call and ``checkpoint=epoch=3.ckpt`` as a mistake. A
path, a pattern or a URI is text, so it is quoted here.
"""

from __future__ import annotations

import re

_TEXT = {
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
_PLAIN = re.compile(r"null|true|false|'.*'|\".*\"|\$\{.*\}|", re.IGNORECASE | re.DOTALL)

_WITH_ACTION = ("models",)
"""Verbs whose first word is an action: ``cytoloop models list``."""


def add_action(verb: str, words: list[str]) -> list[str]:
    """Return the words with the action as an override, ``action=list``.

    >>> name_action("models", ["show", "checkpoint=nuclei"])
    ['action=show', 'checkpoint=nuclei']
    """
    if verb in _WITH_ACTION and words and not is_override(words[0]) and words[0][:1] != "-":
        return [f"action={words[0]}", *words[1:]]
    return words


def quote_overrides(verb: str, words: list[str]) -> list[str]:
    """Return the words with text values quoted.

    Parameters
    ----------
    verb : str
    words : list of str
        As typed: ``key=value`` and flags.
    """
    sweeping = "--multirun" in words or "-m" in words
    done = []
    for word in words:
        key, equals, value = word.partition("=")
        if equals and key in _TEXT.get(verb, ()):
            if not (_PLAIN.fullmatch(value) or (sweeping and "," in value)):
                value = quote(value)
            word = f"{key}={value}"
        done.append(word)
    return done


def is_override(word: str) -> bool:
    """Tell an override (``key=value``, ``+key=value``, ``~key``) from a flag or its value."""
    return word.startswith("~") or ("=" in word and not word.startswith("-"))


def quote(value: str) -> str:
    r"""Return a text in single quotes, escaped as Hydra's grammar wants it.

    >>> quote("it's")
    "'it\\'s'"
    """
    text = re.sub(r"(\\*)'", lambda match: match[1] * 2 + r"\'", value)
    tail = re.search(r"\\*$", text)
    return f"'{text}{tail[0] if tail else ''}'"
