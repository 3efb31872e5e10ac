"""`cytoloop cancel`: stop a training cleanly; what it has learned is kept."""

from __future__ import annotations

import logging
from typing import Any

log = logging.getLogger(__name__)


def run(cfg: Any) -> None:
    """Ask the training to stop, wait until it has, and say how to go on."""
    from cytoloop.tracking.run_status import cancel_training, find_status

    one = find_status(str(cfg.run), cfg.paths.runs_dir)
    told = -1.0
    try:
        for seconds in cancel_training(one):
            if told < 0:
                log.info("asked it to stop after this step")
            elif seconds - told > 30:
                log.info("waiting: it finishes a step or a validation (%.0f s)", seconds)
            else:
                continue
            told = seconds
    except KeyboardInterrupt:
        log.info("it has been asked to stop, and will")
        return
    ends = {
        "stopped": f"stopped; go on with: cytoloop train resume={one.folder}",
        "finished": "it had finished already",
        "ended": "stopped; no epoch was finished, nothing to resume",
    }
    log.info("%s", ends.get(one.update().state, "stopped"))
