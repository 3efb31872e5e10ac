"""What makes two trainings the same run: what was asked of them, or their whole config.

A run is known by the overrides of its study, the site's own YAMLs among them, its data and its
seed. A new key in the configs of the package changes none of these: after an update, a finished
run stays finished. Within one version, runs are also known by their composed config, so that
``augmentation=default`` and no override at all are the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cytoloop.io.atomic import replacing

RESULTS_VERSION = 2
"""Raise it when a change of the package makes trainings score otherwise, new shipped weights among
them: they are done again."""

KEY_FILE = "study_key.json"


@dataclass(frozen=True)
class Composed:
    """A training before it starts.

    Attributes
    ----------
    config : dict
        The composed config without what does not change the result.
    site : dict
        ``group/option`` to the content of each chosen YAML of the site's overlay.
    """

    config: dict[str, Any]
    site: dict[str, Any]


def run_key(config: Mapping[str, Any], digest: str, predictions: str | None = None) -> str:
    """Return a hash of a composed config, the data and another tool's predictions."""
    return _hash([config, digest, predictions, RESULTS_VERSION])


def asked_key(
    words: Sequence[str],
    site: Mapping[str, Any],
    digest: str,
    seed: int,
    predictions: str | None = None,
) -> str:
    """Return a hash of what was asked of a training: overrides, the site's YAMLs, data, seed.

    The order of the overrides does not matter; of two for one key, the last one counts.
    """
    values: dict[str, str] = {}
    for word in words:
        key, _, value = word.lstrip("+").partition("=")
        values.pop(key, None)
        values[key] = value
    asked: dict[str, Any] = {"predictions": predictions, "data": digest}
    if predictions is None:
        asked |= {"overrides": values, "site": site, "seed": seed}
    return _hash([asked, RESULTS_VERSION])


def site_content(choices: Mapping[str, Any], overlay: Path) -> dict[str, Any]:
    """Return the content of the chosen YAMLs that lie in the site's overlay, by group and option.

    Parameters
    ----------
    choices : mapping
        Group to option, as Hydra has chosen.
    overlay : Path
        Folder of the site's configs; may not exist.
    """
    found: dict[str, Any] = {}
    waiting = [(group, option) for group, option in choices.items() if isinstance(option, str)]
    while waiting:
        group, option = waiting.pop()
        path, name = overlay / group / f"{option}.yaml", f"{group}/{option}"
        if name in found or not path.is_file():
            continue
        found[name] = yaml.safe_load(path.read_text(encoding="utf-8"))
        entries = found[name].get("defaults", []) if isinstance(found[name], dict) else []
        waiting += [(group, one) for one in entries if isinstance(one, str)]  # parents
    return found


def known_folders(output: Path) -> dict[str, Path]:
    """Return the folders of the runs of a study by their keys.

    A folder without a note of its keys, of an older version, is known by its name.
    """
    found: dict[str, Path] = {}
    for folder in sorted((output / "runs").glob("*")):
        keys = read_keys(folder) or {"config": folder.name}
        for key in keys.values():
            found.setdefault(key, folder)
    return found


def read_keys(folder: Path) -> dict[str, str]:
    """Return the keys noted in the folder of a run; empty without."""
    try:
        found = json.loads((folder / KEY_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def note_keys(folder: Path, asked: str, config: str) -> None:
    """Note the keys of a run in its folder, where they are not noted yet."""
    keys = {"asked": asked, "config": config}
    if read_keys(folder) != keys:
        with replacing(folder / KEY_FILE) as temporary:
            temporary.write_text(json.dumps(keys) + "\n", encoding="utf-8")


def _hash(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
