"""Differences between the configs of two trainings, for the history of rounds and for `rerun=`."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from cytoloop.errors import CytoloopError, truncate_lines
from cytoloop.tracking.artifacts import find_artifact
from cytoloop.tracking.output_folder import CONFIG_FILE

log = logging.getLogger(__name__)

LOCATION_KEYS = ("output", "resume", "rerun", "overwrite", "run_name", "lock", "paths.output_dir")
_LOCATION = re.compile(
    r"(hydra|logger|paths|local)\b.*"
    r"|(?!data\.path$).*\.(path|dirpath|folder|progress|filename|\w*_dir|ckpt_path|plugins)(\..*)?"
)
_SET_BY_TRAINING = re.compile(r"(model\.image|callbacks\.warm_start|init_from|data\.path)(\..*)?")
_MAX_BYTES = 1_000_000  # of a config file; a real one has about 10 000
_MAX_LINES, _MAX_CHARS = 20, 60


def is_location_key(key: str) -> bool:
    """Return whether a config key says where a training runs or writes, not what it trains."""
    return key in LOCATION_KEYS or _LOCATION.fullmatch(key) is not None


def flatten_config(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) pairs of a nested config; lists are not flattened."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from flatten_config(item, f"{prefix}.{key}" if prefix else str(key))
    elif prefix:
        yield prefix, value


def config_differences(
    before: Mapping[str, str], now: Mapping[str, str], folders: tuple[str, str]
) -> dict[str, tuple[str | None, str | None]]:
    """Return the values that differ, except locations (see `is_location_key`).

    Parameters
    ----------
    before, now : mapping of str to str
        Flattened configs.
    folders : tuple of str
        The output folders of both. Values that contain them are left out.

    Returns
    -------
    dict of str to tuple
        Key to the values before and now; None if a config does not have the key.
    """
    first, second = (
        {
            key: value
            for key, value in values.items()
            if not (
                is_location_key(key)
                or _SET_BY_TRAINING.fullmatch(key)
                or (folder and folder in value)
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
    """Log the config values in which a training differs from the one that `rerun=` names.

    They differ if other overrides were typed, or if the configs of this version, the data or the
    machine lead to other values.

    Parameters
    ----------
    source : str
        ``runs:/ID``, or the output folder of a training.
    cfg : DictConfig
        The completed config of the new training.
    """
    try:
        former = _read_config(find_artifact(source, CONFIG_FILE))
    except (CytoloopError, OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = type(error).__name__ if isinstance(error, OSError) else _short(str(error))
        log.warning(
            "differences from %s are unknown: its %s cannot be read (%s)",
            source,
            CONFIG_FILE,
            reason,
        )
        return
    # both go through YAML, so that 1e-3 and 0.001 are the same value
    text = OmegaConf.to_yaml(cfg, resolve=source.startswith("runs:"))
    before, now = _flat_texts(former), _flat_texts(yaml.safe_load(text))
    folders = before.get("paths.output_dir", ""), now.get("paths.output_dir", "")
    found = config_differences(before, now, folders)
    if not found:
        log.info("the config does not differ from %s", source)
        return
    log.warning("%d config value(s) differ from %s", len(found), source)
    for line in truncate_lines(
        [_describe(key, *values) for key, values in found.items()], _MAX_LINES
    ):
        log.info("  %s", line)


def _read_config(path: Path) -> dict[str, Any]:
    """Return the config of another training as plain data; it may come from an untrusted store."""
    if path.stat().st_size > _MAX_BYTES:
        raise ValueError(f"the file is larger than {_MAX_BYTES} bytes")
    text = path.read_text(encoding="utf-8")
    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
        raise ValueError("it has YAML aliases")  # they could expand a small file to gigabytes
    found = yaml.safe_load(text)
    if not isinstance(found, dict):
        raise ValueError("it has no keys")
    return found


def _flat_texts(config: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in flatten_config(config)}


def _describe(key: str, before: str | None, now: str | None) -> str:
    """Return a difference as a line for the terminal."""
    if before is None:
        return f"{key}: {_short(now)} (new key)"
    if now is None:
        return f"{_short(key)}: removed (was {_short(before)})"
    return f"{key}: {_short(now)} (was {_short(before)})"


def _short(value: str | None) -> str:
    """Return untrusted text without control characters, 60 characters at most."""
    text = "".join(c if c.isprintable() else "?" for c in str(value))
    return text if len(text) <= _MAX_CHARS else f"{text[:_MAX_CHARS]}..."
