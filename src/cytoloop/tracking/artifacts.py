"""Files that a training left, in its MLflow run or in its folder."""

from __future__ import annotations

import re
from pathlib import Path

from cytoloop.errors import ModelError

OVERRIDES_FILE = "overrides.yaml"
"""The typed words: in ``.hydra/`` of a training's folder, and an artifact of its run."""

LOCATION_KEYS = ("output", "resume", "rerun", "overwrite", "run_name", "lock")
_PLACES = re.compile(
    r"(hydra|logger|paths|local)\b.*"
    r"|(?!data\.path$).*\.(path|dirpath|folder|progress|filename|\w*_dir|ckpt_path|plugins)(\..*)?"
)


def find_artifact(source: str, name: str) -> Path:
    """Return a file that a training has left, of its run or in its folder.

    Parameters
    ----------
    source : str
        ``runs:/ID``, or the folder.
    name : str

    Raises
    ------
    ModelError
        There is no such run, or it has no such file. In a folder it is not looked for.
    """
    if not source.startswith("runs:"):
        folder = Path(source).expanduser()
        return (folder / ".hydra" if name == OVERRIDES_FILE else folder) / name
    match = re.fullmatch(r"runs:/([0-9a-f]{32})/?", source)
    if match is None:
        raise ModelError(source, "is no run URI", "Expected runs:/ID (32 hex).")
    from cytoloop.tracking.checkpoints import fetch_artifact  # imports mlflow

    try:
        return fetch_artifact(match[1], name)
    except FileNotFoundError as error:
        raise ModelError(
            source,
            f"the run keeps no {name}",
            "It needed none, or an earlier version made it; its folder may have one.",
        ) from error


def is_location_key(key: str) -> bool:
    """Tell a key that says where a training runs and writes from one that says what it trains."""
    return key in LOCATION_KEYS or _PLACES.fullmatch(key) is not None
