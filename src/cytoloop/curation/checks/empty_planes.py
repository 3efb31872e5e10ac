"""Planes of stacks in which nothing is labelled."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from cytoloop.curation.checks.result import CheckResult
from cytoloop.errors import join_names
from cytoloop.io.names import stem
from cytoloop.manifest import Row, stack_of

log = logging.getLogger(__name__)


def report_empty_planes(
    rows: Iterable[Row], results: Mapping[str, CheckResult], repair: str
) -> None:
    """Log how many planes have no label; warn where most planes of a stack have none.

    Such planes are learned as background, which is wrong where nobody annotated them.

    Parameters
    ----------
    rows : iterable of Row
    results : mapping of str to CheckResult
        By row id.
    repair : str
        The key and value that leave these planes out.
    """
    objects: dict[str, Counter[str]] = defaultdict(Counter)  # stack to objects of each plane
    names: dict[str, str] = {}
    for row in rows:
        if row["plane"]:
            stack = stack_of(row)
            objects[stack][row["plane"]] += results[row.id].objects
            names[stack] = stem(row["raw"])
    empty = {stack: _count_empty(planes) for stack, planes in objects.items()}
    sparse: Sequence[str] = [
        f"{names[stack]} ({count} of {len(objects[stack])})"
        for stack, count in empty.items()
        if 2 * count > len(objects[stack])
    ]
    if sparse:
        log.warning(
            "most planes have no label and are learned as background: %s. If nobody annotated "
            "them, leave them out: %s",
            join_names(sparse),
            repair,
        )
    elif total := sum(empty.values()):
        log.info("%d planes have no label and are learned as background", total)


def _count_empty(planes: Mapping[str, int]) -> int:
    return sum(not count for count in planes.values())
