"""`cytoloop history`: the rounds before and after a model, with data, scores and changes."""

from __future__ import annotations

import logging
from typing import Any

from cytoloop.home import expand_home

log = logging.getLogger(__name__)


def run(cfg: Any) -> None:
    """Print the tree of rounds; with ``output`` also write it as a page or a picture."""
    from cytoloop.rounds.history import read_history
    from cytoloop.rounds.history_display import check_history_file, history_tree, write_history
    from cytoloop.terminal import stdout_console

    file = expand_home(str(cfg.output)) if cfg.output else None
    if file is not None:
        check_history_file(file, bool(cfg.overwrite))
    root, own_id = read_history(str(cfg.checkpoint))
    stdout_console.print(history_tree(root, own_id), soft_wrap=True)
    if file is not None:
        log.info("wrote %s", write_history(root, own_id, file))
