"""`cytoloop compare`: compares two or more evaluations; writes a verdict, tables and a report."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from cytoloop.cli.app import ExitStatus, config_to_dict
from cytoloop.evaluation.comparison import (
    Comparison,
    ComparisonSettings,
    compare,
    comparison_table,
    read_evaluation,
    remove_comparison,
    write_change_overlays,
    write_comparison,
)

log = logging.getLogger(__name__)

STATUS = {"better": 0, "no evidence": 3, "worse": 4}
"""Exit status of each verdict on b; 1 and 2 are errors."""


def run(cfg: Any) -> ExitStatus:
    """Compare b and more with a, print the scores, and return the verdict on b as exit status."""
    from cytoloop.terminal import stdout_console

    comparisons = compare_evaluations(cfg)
    for one in comparisons:
        stdout_console.print(comparison_table(one))
    return ExitStatus(STATUS[comparisons[0].verdict])


def compare_evaluations(cfg: Any) -> list[Comparison]:
    """Compare b and more with a, and write the output; return the comparison of each with a."""
    from cytoloop.tracking.scores import locate_scores

    settings = ComparisonSettings.from_config(config_to_dict(cfg))
    more = [cfg.more] if isinstance(cfg.more, str) else list(cfg.more)
    sources = {name: str(cfg[name]) for name in ("a", "b")}
    sources |= {f"more{number}": str(source) for number, source in enumerate(more, start=1)}
    first, *others = (
        read_evaluation(name, source, locate_scores(source)) for name, source in sources.items()
    )
    comparisons = [compare(first, other, settings) for other in others]
    output = Path(cfg.output)
    if settings.overwrite:
        remove_comparison(output)
    overlays = {
        one.second.name: write_change_overlays(one, output / "overlays", settings.overlays)
        for one in comparisons
    }
    files = write_comparison(comparisons, output, overlays)
    log.info("wrote %s", ", ".join(map(str, files)))
    return comparisons
