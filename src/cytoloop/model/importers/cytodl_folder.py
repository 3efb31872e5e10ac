"""The best checkpoint in the folder of a CytoDL or Segmenter ML training."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cytoloop.errors import ModelError
from cytoloop.model.importers.weights_and_config import WEIGHTS
from cytoloop.model.safe_load import load_tensors

log = logging.getLogger(__name__)

_CHECKPOINTS = "checkpoints"
_LAST = "last"


def find_checkpoint(folder: Path) -> Path:
    """Return the checkpoint of a training that had the best score when it was written.

    A folder that was trained on more than once holds the best of each time; their scores are in
    the files. Where they are not, the one that was trained longest is taken.

    Parameters
    ----------
    folder : Path
        With ``checkpoints/*.ckpt``, or with ``best_model.pth`` and ``config.json``.

    Raises
    ------
    ModelError
        It holds none.
    """
    if (folder / WEIGHTS).is_file():
        return folder / WEIGHTS
    files = sorted((folder / _CHECKPOINTS).glob("*.ckpt"))
    chosen = [file for file in files if not file.stem.startswith(_LAST)] or files
    if not chosen:
        raise ModelError(
            str(folder),
            f"the folder holds neither {_CHECKPOINTS}/*.ckpt nor {WEIGHTS}",
            "Give the folder of one training, or the file itself.",
        )
    if len(chosen) == 1:
        return chosen[0]
    found = {file: _progress(load_tensors(file)) for file in chosen}
    scored = all(math.isfinite(score) for score, _ in found.values())
    best = max(found, key=lambda file: found[file] if scored else found[file][1:])
    which = "had the best score" if scored else "was trained longest"
    log.info("%s: %s of %d checkpoints %s", folder, best.name, len(chosen), which)
    return best


def _progress(content: Any) -> tuple[float, int]:
    """Return a checkpoint's score (higher is better, NaN where it has none) and its step."""
    content = content if isinstance(content, Mapping) else {}
    step = content.get("global_step")
    step = step if isinstance(step, int) else 0
    callbacks = content.get("callbacks")
    for name, state in callbacks.items() if isinstance(callbacks, Mapping) else ():
        if str(name).startswith("ModelCheckpoint") and isinstance(state, Mapping):
            try:
                score = float(state["current_score"])
            except (KeyError, TypeError, ValueError, RuntimeError):
                continue
            return (score if "'mode': 'max'" in str(name) else -score), step
    return math.nan, step
