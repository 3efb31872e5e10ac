"""Metadata that is written beside exported weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cytoloop.model.checkpoint import Checkpoint
from cytoloop.version import __version__

_METADATA = "model.json"


@dataclass(frozen=True)
class About:
    """What users and MLflow know about a model.

    Attributes
    ----------
    name : str
    description : str
    authors : sequence of str
    license : str or None
        SPDX identifier.
    scores : mapping of str to float
        Scores of its MLflow run.
    """

    name: str = "model"
    description: str = ""
    authors: Sequence[str] = ()
    license: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write plain values as JSON."""
    path.write_text(json.dumps(values, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def write_metadata(checkpoint: Checkpoint, folder: Path, **shape: Any) -> None:
    """Write ``model.json``: inputs, outputs and image settings of an exported graph.

    Parameters
    ----------
    checkpoint : Checkpoint
    folder : Path
    **shape
        What is known of the sides of an image.
    """
    axes = "ZYX"[-int(checkpoint.image["spatial_dims"]) :]
    values = {
        "written_by": f"cytoloop {__version__}",
        "model_sha256": checkpoint.sha256,
        "input": {"name": "image", "axes": f"BC{axes}", "dtype": "float32", **shape},
        "output": {
            "name": "logits",
            "axes": f"BK{axes}",
            "channels": int(checkpoint.backbone.get("out_channels", 1)),
            "heads": [str(head) for head in checkpoint.image.get("heads") or ["foreground"]],
            "probability": "sigmoid of a head's logit",
        },
        "image": checkpoint.image,
    }
    write_json(folder / _METADATA, values)
