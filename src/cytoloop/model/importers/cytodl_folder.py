"""The best checkpoint in the folder of a CytoDL or Segmenter ML training."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cytoloop.model.safe_load import load_tensors

log = logging.getLogger(__name__)

FILES = "checkpoints/*.ckpt"


def find_file(folder: Path) -> Path | None:
    """Return the checkpoint with the best score in ``checkpoints/``, None if there is none.

    A folder that was trained in several times holds the best checkpoint of each time, with its
    score. If a score is missing, the checkpoint with the most steps is returned. ``last*.ckpt``
    is returned only if there are no others.
    """
    files = sorted(folder.glob(FILES))
    candidates = [file for file in files if not file.stem.startswith("last")] or files
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    found = {file: _score_and_step(load_tensors(file)) for file in candidates}
    scored = all(math.isfinite(score) for score, _ in found.values())
    best = max(found, key=lambda file: found[file] if scored else found[file][1:])
    reason = "has the best score" if scored else "has the most steps"
    log.info("%s: %s of %d checkpoints %s", folder, best.name, len(candidates), reason)
    return best


def _score_and_step(content: Any) -> tuple[float, int]:
    """Return a checkpoint's score (higher is better, NaN without one) and its step."""
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
