"""Overrides as typed by the user, quoted for Hydra's grammar by the type of their key.

Hydra reads ``key=(?P<id>a)`` as a function call, ``channel=DAPI, new`` as two values and
``run_name=1e3`` as a number, and refuses ``checkpoint=epoch=3.ckpt``. A value of a key that holds
text is text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from cytoloop.cli.key_types import KeyType, key_type
from cytoloop.errors import ConfigError
from cytoloop.redact import has_secret, redact_url

_VERBS_WITH_ACTION = ("models",)
"""Verbs whose first word is an action: ``cytoloop models list``."""

_ONE_OPTION = {"classic": "workflow", "synthesize": "synthesis"}
"""Groups by verb of which one option is meant."""
_MAY_BE_EMPTY = ("description",)
"""Keys whose default is an empty text."""

_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def add_action(verb: str, words: list[str]) -> list[str]:
    """Return the words with the action of the verb as an override, ``action=list``.

    >>> add_action("models", ["show", "checkpoint=nuclei"])
    ['action=show', 'checkpoint=nuclei']
    """
    has_action = words and not is_override(words[0]) and not words[0].startswith("-")
    if verb in _VERBS_WITH_ACTION and has_action:
        return [f"action={words[0]}", *words[1:]]
    return words


_LISTS = (KeyType.TEXTS, KeyType.TEXTS_OR_MAPPING, KeyType.NUMBER_OR_TEXTS)


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
        if equals and not word.startswith(("-", "~")):
            word = f"{key}={_quote_value(value, key_type(verb, bare_key(word)), is_sweep)}"
        quoted.append(word)
    return quoted


def _quote_value(value: str, kind: KeyType, is_sweep: bool) -> str:
    """Return a typed value in Hydra's grammar.

    A text in quotes is the text between them. ``${...}`` is an interpolation where it is complete.
    """
    text = value.strip()
    if text == "" or text.lower() == "null" or _QUOTED.fullmatch(text):
        return value
    if is_sweep and "," in text and (kind is not KeyType.VALUE):
        return value if _hydra_reads(text) else ",".join(map(_as_text, split_list(text)))
    if kind is KeyType.VALUE:
        return _quote_unreadable(value)
    is_flag = kind is KeyType.FLAG_OR_TEXT and text.lower() in ("true", "false")
    is_number = kind is KeyType.NUMBER_OR_TEXTS and _NUMBER.fullmatch(text)
    if is_flag or is_number:
        return value
    if kind is KeyType.TEXTS_OR_MAPPING and text.startswith("{"):
        return value
    if kind in _LISTS and is_list(text):
        return f"[{','.join(map(_as_text, split_list(text[1:-1])))}]"
    return _as_text(value)


def _quote_unreadable(value: str) -> str:
    """Return a value in quotes if Hydra cannot read it and it is no list or dictionary.

    Hydra refuses a damaged list with an error of its own.
    """
    if value.lstrip().startswith(("[", "{")) or _hydra_reads(value):
        return value
    return _as_text(value)


def _as_text(value: str) -> str:
    """Return a text for Hydra's grammar, unless it is in quotes already."""
    text = value.strip()
    return text if _QUOTED.fullmatch(text) else quote(_escape_dollars(value))


def _escape_dollars(text: str) -> str:
    r"""Return a text in which OmegaConf finds an interpolation only where one is complete.

    >>> _escape_dollars("a${b")
    'a\\${b'
    """
    from omegaconf.errors import GrammarParseError
    from omegaconf.grammar_parser import parse

    if re.search(r"(?<!\\)\$\{", text):
        try:
            parse(text)
        except GrammarParseError:
            pass
        else:
            return text
    return re.sub(r"(\\*)\$\{", lambda match: match[1] * 2 + r"\${", text)


def _hydra_reads(value: str) -> bool:
    """Return whether a value follows Hydra's grammar."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed: Any = OverridesParser.create().parse_override(f"key={value}")
    except HydraException:
        return False
    return parsed is not None


def is_list(text: str) -> bool:
    """Return whether a text is a list in square brackets."""
    return text.startswith("[") and text.endswith("]")


def split_list(text: str) -> list[str]:
    """Return the elements between commas; commas in quotes or parentheses do not split.

    >>> split_list("A1 (a, b), 'c, d', e")
    ['A1 (a, b)', "'c, d'", 'e']
    >>> split_list("a(b, c")
    ['a(b', 'c']
    """
    element = rf"(?:{_QUOTED.pattern}(?=\s*(?:,|$))|\([^()]*\)|[^,])*"
    found = [match[0].strip() for match in re.finditer(rf"{element}(?:,|$)", text, re.DOTALL)]
    return [one.removesuffix(",").strip() for one in found if one.removesuffix(",").strip()]


def refuse_secrets(verb: str, words: Sequence[str]) -> None:
    """Refuse URLs with a login or a token: each command is stored with what it writes.

    Raises
    ------
    ConfigError
        For all such words.
    """
    found = [
        f"{bare_key(word)}={redact_url(word.partition('=')[2])}"
        for word in words
        if is_override(word) and not _is_tracking_uri(word) and has_secret(word.partition("=")[2])
    ]
    if found:
        raise ConfigError(
            f"cytoloop {verb}",
            [f"{text}: the URL holds a login or a token, which would be stored" for text in found],
            "Put a login into ~/.netrc. Give a URL with a token in a manifest (input=TABLE.csv, "
            "column raw): tables and logs of CytoLoop do not repeat the token.",
        )


def refuse_empty(verb: str, words: Sequence[str]) -> None:
    """Refuse keys without a value: an empty path would be the working folder.

    Raises
    ------
    ConfigError
        For all such words.
    """
    found = [
        bare_key(word)
        for word in words
        if is_override(word) and "=" in word and not word.partition("=")[2].strip().strip("'\"")
    ]
    if found := [key for key in found if key not in _MAY_BE_EMPTY]:
        raise ConfigError(
            f"cytoloop {verb}",
            [f"{key}=: is empty, expected a value" for key in found],
            "Give a value, or leave the key out. A variable of the shell that is not set is empty, "
            "too.",
        )


def refuse_merged_options(verb: str, words: Sequence[str]) -> None:
    """Refuse several options of a group whose options make no sense together; Hydra merges them.

    Raises
    ------
    ConfigError
    """
    group = _ONE_OPTION.get(verb)
    for word in words:
        if group and bare_key(word) == group and is_list(value := text_of(word).strip()):
            names = split_list(value[1:-1])
            raise ConfigError(
                f"cytoloop {verb}",
                f"{group}={value}: {len(names)} options, expected one",
                f"Run once for each, with an output= of its own: {group}={names[0]}"
                if names
                else f"See `cytoloop {verb} --help`.",
            )


def _is_tracking_uri(word: str) -> bool:
    """Return whether a word sets a tracking URI, whose passwords are refused on their own."""
    return bare_key(word).endswith("tracking_uri")


def is_override(word: str) -> bool:
    """Return whether a word is an override: ``key=value``, ``+key=value`` or ``~key``."""
    return word.startswith("~") or ("=" in word and not word.startswith("-"))


def bare_key(override: str) -> str:
    """Return the key of an override without value and prefix.

    >>> bare_key("+model.x=1"), bare_key("~data")
    ('model.x', 'data')
    """
    return override.partition("=")[0].lstrip("~+")


def text_of(override: str) -> str:
    """Return the value of an override without the quotes of `quote`, "" without a value.

    >>> text_of("paths.runs_dir='my runs'"), text_of("seed=1"), text_of("~data")
    ('my runs', '1', '')
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    value = override.partition("=")[2]
    if not _QUOTED.fullmatch(value.strip()):
        return value
    return str(OverridesParser.create().parse_override(f"key={value}").value())


def quote(value: str) -> str:
    r"""Return a text in single quotes, escaped for Hydra's grammar.

    >>> quote("it's")
    "'it\\'s'"
    """
    text = re.sub(r"(\\*)'", lambda match: match[1] * 2 + r"\'", value)
    tail = re.search(r"\\*$", text)
    return f"'{text}{tail[0] if tail else ''}'"
