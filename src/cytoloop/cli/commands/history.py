"""`cytoloop history`: the rounds that a model comes from: data, scores, what changed."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


def run(cfg: Any) -> None:
    """Print the tree of rounds, and write it as a page or a picture where one is asked for."""
    from cytoloop.rounds.history import read_history
    from cytoloop.rounds.history_display import check_history_file, history_tree, write_history
    from cytoloop.terminal import stdout_console

    target = Path(str(cfg.output)).expanduser() if cfg.output else None
    if target is not None:
        check_history_file(target)
    root, own = read_history(str(cfg.checkpoint))
    stdout_console.print(history_tree(root, own), soft_wrap=True)
    if target is not None:
        log.info("wrote %s", write_history(root, own, target))
