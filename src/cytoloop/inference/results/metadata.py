"""The JSON beside the results of an image: its input, model, settings and numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from cytoloop.inference.results.writers import report_write_errors
from cytoloop.inference.settings import PredictionSettings
from cytoloop.io.atomic import replacing
from cytoloop.redact import redact_url
from cytoloop.version import __version__

FOLDER = "metadata"
_INPUT = ("channel", "scene", "time", "plane", "axes", "group", "split")
_NUMBERS = ("object_diameter_um", "classes", "objects", "threshold", "seconds", "warnings")


def write_metadata(
    folder: Path, name: str, cells: Mapping[str, Any], settings: PredictionSettings
) -> str:
    """Write ``metadata/NAME.json``, and return its path in the folder.

    Parameters
    ----------
    folder : Path
        Of the predictions.
    name : str
        Of the result files.
    cells : mapping
        The row of the image in predictions.csv, done.
    settings : PredictionSettings

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    spacing = str(cells.get("spacing_um") or "").split()
    path = folder / FOLDER / f"{name}.json"
    content = {
        "id": cells["id"],
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "cytoloop": __version__,
        "input": {
            "file": cells["raw"],
            "sha256": cells.get("input_sha256"),
            **{key: cells[key] for key in _INPUT if cells.get(key) not in (None, "")},
        },
        "voxel_size_um": dict(zip("zyx"[3 - len(spacing) :], map(float, spacing), strict=True))
        or None,
        "model": {
            "uri": redact_url(str(cells.get("model") or "")),
            "run_id": cells.get("run_id") or None,
            "sha256": cells.get("model_sha256"),
        },
        "results": {
            key: value
            for key, value in cells.items()
            if key != "model"  # a checkpoint may lie in a folder of that name
            and isinstance(value, str)
            and Path(value).parts[:1] == (_folder_of(key),)
        },
        **{key: cells[key] for key in _NUMBERS if cells.get(key) not in (None, "")},
        "settings": asdict(settings),
    }
    with report_write_errors(folder):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(
                json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8"
            )
    return f"{FOLDER}/{name}.json"


def _folder_of(column: str) -> str:
    """Return the folder of a column's files."""
    return "objects" if column == "objects_table" else column
