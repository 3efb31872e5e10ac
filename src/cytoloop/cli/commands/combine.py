"""`cytoloop combine`: decisions of other curators into a data set."""

from __future__ import annotations

import logging
import shlex
from typing import Any

from rich.table import Table

from cytoloop.curation.decisions.combine_files import combine_logs
from cytoloop.curation.file_names import CONFLICTS_CSV
from cytoloop.terminal import stdout_console

log = logging.getLogger(__name__)

_MAX_ROWS = 30


def run(cfg: Any) -> None:
    """Append what the other logs add, and show the conflicts."""
    logs = [cfg.logs] if isinstance(cfg.logs, str) else list(cfg.logs)
    found = combine_logs(cfg.data.path, logs, cfg.prefer)
    if found.conflicts:
        table = Table("image", "cell", "mine", "by", "theirs", "by", "used", title="Conflicts")
        for one in found.conflicts[:_MAX_ROWS]:
            mine = (one.mine or "-", one.my_curator or "-")
            theirs = (one.theirs or "-", one.their_curator or "-")
            table.add_row(one.id, one.column, *mine, *theirs, one.used)
        stdout_console.print(table)
    images = len({line["id"] for line in found.lines})
    log.info("took over decisions on %d image(s)", images)
    text = f"{len(found.conflicts)} conflict(s)"
    log.info("%s%s", text, f", listed in {CONFLICTS_CSV}" if found.conflicts else "")
    log.info("next: cytoloop curate output=%s", shlex.quote(str(cfg.data.path)))
