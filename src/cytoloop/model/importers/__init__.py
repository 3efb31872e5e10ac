"""Models of other origin, each read as data into what a checkpoint of ours holds.

- a CytoDL checkpoint, or the folder of a CytoDL or Segmenter ML training: `cytodl`, `folder`
- weights with a ``config.json`` beside them, as the Segmentation module has them: `pair`

What cannot be predicted with exactly is refused with the reason, never approximated silently.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cytoloop.errors import ModelError
from cytoloop.model.importers.cytodl import is_cytodl, read_cytodl
from cytoloop.model.importers.cytodl_folder import find_checkpoint
from cytoloop.model.importers.networks import ImportedModel
from cytoloop.model.importers.weights_and_config import CONFIG, read_pair

__all__ = ["ImportedModel", "find_checkpoint", "import_model"]

log = logging.getLogger(__name__)


def import_model(path: Path, content: Any) -> ImportedModel:
    """Return the model in a file that CytoLoop did not write.

    Parameters
    ----------
    path : Path
    content
        Of the file, from `load_tensors`.

    Raises
    ------
    ModelError
        Of no known origin, or one that cannot be predicted with exactly.
    """
    paired = isinstance(content, Mapping) and (path.parent / CONFIG).is_file()
    if is_cytodl(content) and not (paired and path.suffix == ".pth"):
        model = read_cytodl(path, content)
    elif paired:
        model = read_pair(path, content)
    else:
        raise ModelError(
            str(path),
            "was not written by CytoLoop, nor by CytoDL, and no config.json lies beside it that "
            "tells its architecture",
            "See docs/models.md for what can be loaded, or train a model with `cytoloop train`.",
        )
    log.info("%s: %s", path, model.told)
    return model
