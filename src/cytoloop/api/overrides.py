"""Keys and Python values as overrides of Hydra."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from cytoloop.cli.overrides import quote
from cytoloop.errors import ConfigError

_KEY = re.compile(r"(~|\+{0,2})[A-Za-z_][\w./@:-]*", re.ASCII)
_PLAIN_TEXT = re.compile(r"(?!(?:null|true|false|nan|inf)$)[A-Za-z_][\w./-]*", re.ASCII | re.I)
"""Text that Hydra reads as this text without quotes."""


def to_overrides(verb: str, keys: Mapping[str, Any]) -> list[str]:
    """Return keys and values as overrides of a verb.

    Parameters
    ----------
    verb : str
        For messages.
    keys : mapping of str to value
        A key as on the command line, with its prefix: ``+key`` adds a key, ``~key`` with the value
        None removes it. See `to_text` for the values.

    Raises
    ------
    ConfigError
        For all keys and values that cannot be an override.
    """
    problems, overrides = [], []
    for key, value in keys.items():
        if not _KEY.fullmatch(key):
            problems.append(f"{key!r} is not a key, expected a name such as 'data.path'")
            continue
        if key.startswith("~") and value is None:
            overrides.append(key)
            continue
        try:
            overrides.append(f"{key}={to_text(value)}")
        except TypeError as error:
            problems.append(f"{key}: {error}")
    if problems:
        raise ConfigError(f"cytoloop.{verb}", problems, f"See `cytoloop {verb} --help`.")
    return overrides


def to_text(value: Any) -> str:
    """Return a Python value in Hydra's grammar, so that Hydra reads the same value.

    Text stays text, also ``"[a]"``, ``"a=b"`` and ``"1e3"``. Only ``${...}`` in a text is an
    interpolation.

    Parameters
    ----------
    value : None, bool, int, float, str, Path, list, tuple, dict, array or NumPy number

    Raises
    ------
    TypeError
        The value has another type, or a key of a dict is not a plain name.

    >>> to_text([None, True, 0.5, "a", "1e3"])
    "[null,true,0.5,a,'1e3']"
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, PurePath):
        value = str(value)
    if isinstance(value, str):
        return value if _PLAIN_TEXT.fullmatch(value) else quote(value)
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(to_text, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{_key_text(k)}:{to_text(v)}' for k, v in value.items())}}}"
    if hasattr(value, "tolist"):  # arrays and numbers of NumPy and torch
        return to_text(value.tolist())
    raise TypeError(
        f"has the type {type(value).__name__}, expected None, bool, int, float, str, Path, list,"
        " tuple or dict"
    )


def _key_text(key: Any) -> str:
    """Return the key of a dict; Hydra's grammar has no quotes for it."""
    if isinstance(key, str) and _PLAIN_TEXT.fullmatch(key):
        return key
    raise TypeError(f"the key {key!r} of a dict is not a plain name")
