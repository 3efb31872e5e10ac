"""Which version is the champion: that which the evaluations find better, and it is written why."""

from __future__ import annotations

import logging

from cytoloop.errors import CytoloopError, ModelError
from cytoloop.evaluation.comparison import (
    Comparison,
    Rule,
    check_run,
    compare,
    comparison_table,
    read_scored,
)
from cytoloop.terminal import results
from cytoloop.tracking.registry import (
    CHAMPION,
    Version,
    champion,
    find_version,
    move_champion,
    note_verdict,
)
from cytoloop.tracking.scores import locate_scores

log = logging.getLogger(__name__)

PROMOTED = 0
STATUS = {"better": PROMOTED, "no evidence": 3, "worse": 4}
"""Exit status of each verdict; 1 and 2 are errors."""


def promote(
    uri: str, rule: Rule, a: str | None = None, b: str | None = None, force: bool = False
) -> int:
    """Move the alias ``champion`` to a version if it is better than the present one.

    The first champion of a model needs no comparison. The verdict is written on the version,
    whatever it is.

    Parameters
    ----------
    uri : str
        The version; of a name alone the newest.
    rule : Rule
        How the verdict is reached.
    a, b : str, optional
        Evaluations of the champion and of the version: folders, tables or ``runs:/ID``. Without
        them, the last evaluations that their runs hold.
    force : bool
        Move it whatever the verdict.

    Returns
    -------
    int
        See `STATUS`.

    Raises
    ------
    ModelError
        No such version, or one of them was not evaluated.
    ManifestError
        An evaluation of another model, or two that share no image.
    """
    version = find_version(uri, newest=True)
    former = champion(version.name)
    if former is None:
        move_champion(version, f"first {CHAMPION}: there was none to compare with", None)
        log.info("%s is the first %s of %s, without a comparison", version.uri, CHAMPION, uri)
        return PROMOTED
    if former.number == version.number:
        log.info("%s is the %s already", version.uri, CHAMPION)
        return PROMOTED
    try:
        found = _compared(former, version, rule, a, b)
    except CytoloopError as error:
        if not force:
            raise
        move_champion(version, f"forced, without a comparison: {error.problems[0]}", former)
        log.warning("%s is the %s, forced and without a comparison", version.uri, CHAMPION)
        return PROMOTED
    results.print(comparison_table(found))
    verdict = _told(found, former, rule)
    if found.verdict == "better" or force:
        forced = "" if found.verdict == "better" else "forced: "
        move_champion(version, forced + verdict, former)
        log.info("%s is the %s now, %s%s", version.uri, CHAMPION, forced, verdict)
        return PROMOTED
    note_verdict(version, verdict, former)
    log.info("%s stays the %s: %s", former.uri, CHAMPION, verdict)
    return STATUS[found.verdict]


def _compared(
    former: Version, version: Version, rule: Rule, a: str | None, b: str | None
) -> Comparison:
    """Return what the evaluations of two versions come to."""
    if former.run_id == version.run_id and not (a and b):
        raise ModelError(
            version.uri,
            f"is of the same run as {former.uri}: its evaluations do not say of which version",
            "Predict and evaluate both, and give a= and b=.",
        )
    scored = []
    for name, given, one in (("a", a, former), ("b", b, version)):
        source = given or f"runs:/{one.run_id}"
        try:
            table = read_scored(name, source, locate_scores(source))
        except ModelError as error:
            steps = f"cytoloop predict model={one.uri} input=... output=preds/, then "
            steps += "cytoloop evaluate predictions=preds/predictions.csv truth=... output=eval/"
            raise ModelError(one.uri, error.problems, f"Run {steps}") from error
        check_run(table, one.run_id)
        scored.append(table)
    return compare(scored[0], scored[1], rule)


def _told(found: Comparison, former: Version, rule: Rule) -> str:
    """Return the verdict with its reason and its rule, in a line."""
    words = {"better": "better than", "worse": "worse than"}
    verdict = f"{words.get(found.verdict, 'no evidence against')} version {former.number}"
    stated = f"score={found.main} least={rule.least:g} fewest={rule.fewest}"
    return f"{verdict}; {found.reason} ({stated}, {len(found.shared.images)} images)"
