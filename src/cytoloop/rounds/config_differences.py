"""In which values one training is not another one: for the tree of rounds, and for `rerun=`."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from cytoloop.errors import CytoloopError, shortened
from cytoloop.tracking.artifacts import find_artifact, is_location_key

log = logging.getLogger(__name__)

CONFIG_FILE = "config.yaml"
"""The composed config: in a training's folder, and an artifact of its run."""

_FILLED_IN = re.compile(r"(model\.image|callbacks\.warm_start|init_from|data\.path)(\..*)?")
_LARGEST = 1_000_000  # bytes of a config; one has about ten thousand
_SHOWN, _LONGEST = 20, 60


def flatten_config(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) pairs of a nested config; lists stay whole."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from flatten_config(item, f"{prefix}.{key}" if prefix else str(key))
    elif prefix:
        yield prefix, value


def config_differences(
    before: Mapping[str, str], now: Mapping[str, str], folders: tuple[str, str]
) -> dict[str, tuple[str | None, str | None]]:
    """Return the values that say what was trained, not where, and that differ.

    Parameters
    ----------
    before, now : mapping of str to str
        Flattened configs.
    folders : tuple of str
        Output folders of both: values that name one say where.

    Returns
    -------
    dict of str to tuple
        Key to its values before and now; None where a config does not have the key.
    """
    first, second = (
        {
            key: value
            for key, value in values.items()
            if not (
                is_location_key(key) or _FILLED_IN.fullmatch(key) or (folder and folder in value)
            )
        }
        for values, folder in zip((before, now), folders, strict=True)
    )
    return {
        key: (first.get(key), second.get(key))
        for key in sorted(first.keys() | second.keys())
        if first.get(key) != second.get(key)
    }


def log_differences(source: str, cfg: DictConfig) -> None:
    """Say in which values a training is not the one whose words it repeats.

    These are the words typed on top, and what the configs of this version, the data and the
    machine have made of the same words.

    Parameters
    ----------
    source : str
        ``runs:/ID``, or the folder of a training.
    cfg : DictConfig
        Composed and completed.
    """
    try:
        former = _read(find_artifact(source, CONFIG_FILE))
    except (CytoloopError, OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = type(error).__name__ if isinstance(error, OSError) else _short(str(error))
        log.warning(
            "what has changed since %s is not known, no %s: %s", source, CONFIG_FILE, reason
        )
        return
    # through the same file format, so that 1e-3 and 0.001 are one value
    text = OmegaConf.to_yaml(cfg, resolve=source.startswith("runs:"))
    before, now = _texts(former), _texts(yaml.safe_load(text))
    folders = before.get("paths.output_dir", ""), now.get("paths.output_dir", "")
    found = config_differences(before, now, folders)
    if not found:
        log.info("the same config as %s", source)
        return
    log.warning("not as in %s: %d value(s) of the config", source, len(found))
    for line in shortened([_told(key, *values) for key, values in found.items()], _SHOWN):
        log.info("  %s", line)


def _read(path: Path) -> dict[str, Any]:
    """Return the config of another training, which may be a stranger's: as data."""
    if path.stat().st_size > _LARGEST:
        raise ValueError("it is too large")
    text = path.read_text(encoding="utf-8")
    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
        raise ValueError("it repeats parts of itself")  # a small file could become huge
    found = yaml.safe_load(text)
    if not isinstance(found, dict):
        raise ValueError("it has no keys")
    return found


def _texts(config: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in flatten_config(config)}


def _told(key: str, then: str | None, today: str | None) -> str:
    """Return what has become of a value, in a line."""
    if then is None:
        return f"{key}: {_short(today)}, a key that it did not have"
    if today is None:
        return f"{_short(key)}: it had {_short(then)}, there is no such key now"
    return f"{key}: {_short(today)}, it had {_short(then)}"


def _short(value: str | None) -> str:
    """Return a text of a stranger as a terminal may show it."""
    text = "".join(c if c.isprintable() else "?" for c in str(value))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
