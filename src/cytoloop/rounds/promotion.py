"""Which version is the champion: that which the evaluations find better, and it is written why."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from cytoloop.errors import ConfigError, CytoloopError, ModelError, listed
from cytoloop.evaluation.comparison import (
    Comparison,
    Rule,
    Scored,
    check_run,
    compare,
    comparison_table,
    read_scored,
)
from cytoloop.io.names import safe_name
from cytoloop.manifest import read_manifest
from cytoloop.rounds.history import training_image_hashes
from cytoloop.terminal import stdout_console
from cytoloop.tracking.checkpoints import locate_checkpoint
from cytoloop.tracking.registry import (
    CHAMPION,
    Version,
    find_champion,
    find_version,
    set_champion,
    write_verdict,
)
from cytoloop.tracking.scores import locate_scores

log = logging.getLogger(__name__)

PROMOTED = 0
EXIT_STATUS = {"better": PROMOTED, "no evidence": 3, "worse": 4}
"""Exit status of each verdict; 1 and 2 are errors."""


@dataclass(frozen=True)
class ScoreSources:
    """What the scores of the champion and of another version are taken from.

    Attributes
    ----------
    a, b : str, optional
        Evaluations of the champion and of the version: folders, tables or ``runs:/ID``. Without
        them, the last evaluations that their runs hold.
    truth : str, optional
        Annotated images, on which both are predicted and scored now: as `cytoloop evaluate`
        takes them.
    images : str, optional
        The images of `truth`; None: it is a table that names them.
    output : Path
        Where these predictions and scores go, a folder for each version.

    Raises
    ------
    ConfigError
        What is given contradicts itself, or is not enough.
    """

    a: str | None = None
    b: str | None = None
    truth: str | None = None
    images: str | None = None
    output: Path = Path("promotions")

    def __post_init__(self) -> None:
        problems = []
        if self.images and not self.truth:
            problems.append("input=... is given, and truth=... is missing")
        if self.truth and not self.images and not str(self.truth).lower().endswith(".csv"):
            problems.append("truth=... is no table that names its images: input=... is missing")
        if self.truth:
            given = {"a": self.a, "b": self.b}
            problems += [f"{k}=... and truth=... exclude each other" for k in given if given[k]]
        if problems:
            raise ConfigError("promote", problems, "See `cytoloop models --help`.")


def promote(uri: str, rule: Rule, evidence: ScoreSources, force: bool = False) -> int:
    """Move the alias ``champion`` to a version if it is better than the present one.

    The first champion of a model needs no comparison. The verdict is written on the version,
    whatever it is.

    Parameters
    ----------
    uri : str
        The version; of a name alone the newest.
    rule : Rule
        How the verdict is reached.
    evidence : Evidence
    force : bool
        Move it whatever the verdict.

    Returns
    -------
    int
        See `EXIT_STATUS`.

    Raises
    ------
    ModelError
        No such version, or one of them was not evaluated.
    ImageError, ManifestError
        An evaluation of another model, two that share no image, or images that cannot be
        predicted or scored.
    """
    version = find_version(uri, newest=True)
    former = find_champion(version.name)
    if former is None:
        set_champion(version, f"first {CHAMPION}: there was none to compare with", None)
        log.info("%s is the first %s of %s, without a comparison", version.uri, CHAMPION, uri)
        return PROMOTED
    if former.number == version.number:
        log.info("%s is the %s already", version.uri, CHAMPION)
        return PROMOTED
    try:
        found = _compared(former, version, rule, evidence)
    except CytoloopError as error:
        if not force:
            raise
        set_champion(version, f"forced, without a comparison: {error.problems[0]}", former)
        log.warning("%s is the %s, forced and without a comparison", version.uri, CHAMPION)
        return PROMOTED
    stdout_console.print(comparison_table(found))
    verdict = _told(found, former, rule)
    if found.verdict == "better" or force:
        forced = "" if found.verdict == "better" else "forced: "
        set_champion(version, forced + verdict, former)
        log.info("%s is the %s now, %s%s", version.uri, CHAMPION, forced, verdict)
        return PROMOTED
    write_verdict(version, verdict, former)
    log.info("%s stays the %s: %s", former.uri, CHAMPION, verdict)
    return EXIT_STATUS[found.verdict]


def _compared(former: Version, version: Version, rule: Rule, evidence: ScoreSources) -> Comparison:
    """Return what the evaluations of two versions come to."""
    if evidence.truth:
        first, second = _scored("a", former, evidence), _scored("b", version, evidence)
        return compare(first, second, rule)
    if former.run_id == version.run_id and not (evidence.a and evidence.b):
        raise ModelError(
            version.uri,
            f"is of the same run as {former.uri}: its evaluations do not say of which version",
            "Give annotated images, truth=..., or evaluate both and give a= and b=.",
        )
    first, second = _read("a", evidence.a, former), _read("b", evidence.b, version)
    return compare(first, second, rule)


def _scored(name: str, one: Version, evidence: ScoreSources) -> Scored:
    """Return the scores of a version on annotated images, predicted now."""
    from cytoloop.training.final_test import score_model

    truth = str(evidence.truth)
    _warn_of_seen(one, truth)
    folder = evidence.output.absolute() / safe_name(f"{one.name}-{one.number}")
    log.info("predicting and scoring %s: %s", one.uri, folder)
    path, named = locate_checkpoint(one.uri).path, {"model": one.uri, "run_id": one.run_id}
    score_model(path, evidence.images or truth, truth, folder, named)
    return read_scored(name, one.uri, folder)


def _warn_of_seen(one: Version, truth: str) -> None:
    """Say where a version was trained on images that it is judged by, as far as hashes tell."""
    if not truth.lower().endswith(".csv") or one.run_id is None:
        return
    seen = training_image_hashes(one.run_id)
    if known := [row.id for row in read_manifest(truth, ()) if row["sha256"] in seen]:
        text = "%s was trained on %d of these images, which flatters it: %s"
        log.warning(text, one.uri, len(known), listed(known))


def _read(name: str, given: str | None, one: Version) -> Scored:
    """Return the scores of a version as they were written down earlier."""
    source = given or f"runs:/{one.run_id}"
    try:
        table = read_scored(name, source, locate_scores(source))
    except ModelError as error:
        steps = "Give annotated images, truth=dataset/test.csv, on which both are scored; or run "
        steps += f"cytoloop predict checkpoint={one.uri} input=... output=preds/, then "
        steps += "cytoloop evaluate predictions=preds/predictions.csv truth=... output=eval/"
        raise ModelError(one.uri, error.problems, steps) from error
    check_run(table, one.run_id)
    return table


def _told(found: Comparison, former: Version, rule: Rule) -> str:
    """Return the verdict with its reason and its rule, in a line."""
    words = {"better": "better than", "worse": "worse than"}
    verdict = f"{words.get(found.verdict, 'no evidence against')} version {former.number}"
    stated = f"score={found.main} min_effect={rule.min_effect:g} min_units={rule.min_units}"
    return f"{verdict}; {found.reason} ({stated}, {len(found.shared.images)} images)"
