"""Promotion: a version becomes the champion of its model if a comparison finds it better."""

from __future__ import annotations

import logging
import shlex
from dataclasses import dataclass
from pathlib import Path

from cytoloop.errors import ConfigError, CytoloopError, ModelError, join_names
from cytoloop.evaluation.comparison import (
    Comparison,
    EvaluationTable,
    VerdictRule,
    check_run,
    compare,
    comparison_table,
    read_evaluation,
)
from cytoloop.io.folder_lock import lock_folder
from cytoloop.io.names import safe_name
from cytoloop.manifest import is_table, read_manifest, table_in
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
    """Where the scores of the champion and of the candidate come from.

    Attributes
    ----------
    a, b : str, optional
        Evaluations of the champion and of the candidate: folders, tables or ``runs:/ID``. None:
        the latest evaluations in their runs.
    truth : str, optional
        Annotated images (as for `cytoloop evaluate`). Both versions are predicted and scored on
        them now, and `a` and `b` must be None.
    images : str, optional
        The images of `truth`; None: column ``raw`` of that table.
    output : Path
        Folder for these predictions and scores, with a sub-folder for each version.

    Raises
    ------
    ConfigError
        The values contradict each other or are incomplete.
    """

    a: str | None = None
    b: str | None = None
    truth: str | None = None
    images: str | None = None
    output: Path = Path("promotions")

    def __post_init__(self) -> None:
        problems = []
        if self.images and not self.truth:
            problems.append("input=... needs truth=...")
        if self.truth and not self.images and not is_table(table_in(self.truth)):
            problems.append("truth=... is not a .csv table, so it needs input=...")
        if self.truth:
            given = {"a": self.a, "b": self.b}
            problems += [f"{k}=... and truth=... exclude each other" for k in given if given[k]]
        if problems:
            raise ConfigError("cytoloop models promote", problems, "See `cytoloop models --help`.")


def promote(uri: str, rule: VerdictRule, sources: ScoreSources, force: bool = False) -> int:
    """Move the alias ``champion`` to a version if it is better than the present champion.

    The first champion of a model needs no comparison. The verdict is written on the version,
    also if the alias is not moved.

    Parameters
    ----------
    uri : str
        The candidate: a version, or a name for its newest version.
    rule : VerdictRule
        The rule of the comparison.
    sources : ScoreSources
    force : bool
        Move the alias whatever the verdict.

    Returns
    -------
    int
        See `EXIT_STATUS`.

    Raises
    ------
    ModelError
        There is no such version, or a version has no evaluation.
    ImageError, ManifestError
        An evaluation belongs to another model, the two share no image, or images cannot be
        predicted or scored.
    """
    candidate = find_version(uri, newest=True)
    champion = find_champion(candidate.name)
    if champion is None:
        set_champion(candidate, f"first {CHAMPION}, without a comparison", None)
        log.info("%s is the first %s of %s, without a comparison", candidate.uri, CHAMPION, uri)
        return PROMOTED
    if champion.number == candidate.number:
        log.info("%s is the %s already", candidate.uri, CHAMPION)
        return PROMOTED
    try:
        comparison = _compare(champion, candidate, rule, sources)
    except CytoloopError as error:
        if not force:
            raise
        set_champion(candidate, f"forced, without a comparison: {error.problems[0]}", champion)
        log.warning("%s is the %s now, forced and without a comparison", candidate.uri, CHAMPION)
        return PROMOTED
    stdout_console.print(comparison_table(comparison))
    verdict = _describe_verdict(comparison, champion, rule)
    if comparison.verdict == "better" or force:
        forced = "" if comparison.verdict == "better" else "forced: "
        set_champion(candidate, forced + verdict, champion)
        log.info("%s is the %s now, %s%s", candidate.uri, CHAMPION, forced, verdict)
        return PROMOTED
    write_verdict(candidate, verdict, champion)
    log.info("%s stays the %s. %s: %s", champion.uri, CHAMPION, candidate.uri, verdict)
    return EXIT_STATUS[comparison.verdict]


def _compare(
    champion: Version, candidate: Version, rule: VerdictRule, sources: ScoreSources
) -> Comparison:
    if sources.truth:
        return compare(
            _score_now("a", champion, sources), _score_now("b", candidate, sources), rule
        )
    if champion.run_id == candidate.run_id and not (sources.a and sources.b):
        raise ModelError(
            candidate.uri,
            f"has the same run as {champion.uri}, whose evaluations name no version",
            "Give annotated images, truth=..., or evaluate both versions and give a= and b=.",
        )
    return compare(
        _read_scores("a", sources.a, champion), _read_scores("b", sources.b, candidate), rule
    )


def _score_now(name: str, version: Version, sources: ScoreSources) -> EvaluationTable:
    """Predict annotated images with a version and return its scores on them."""
    from cytoloop.training.final_test import score_model

    truth = str(sources.truth)
    _warn_of_training_images(version, truth)
    folder = sources.output.absolute() / safe_name(f"{version.name}-{version.number}")
    log.info("predicting and scoring %s: %s", version.uri, folder)
    path = locate_checkpoint(version.uri).path
    origin = {"model": version.uri, "run_id": version.run_id}
    with lock_folder(folder, "cytoloop models promote", beside=True):
        score_model(path, sources.images or truth, truth, folder, origin)
        return read_evaluation(name, version.uri, folder)


def _warn_of_training_images(version: Version, truth: str) -> None:
    """Warn if a version was trained on images of the truth table, compared by hash."""
    if not is_table(table_in(truth)) or version.run_id is None:
        return
    hashes = training_image_hashes(version.run_id)
    if known := [row.id for row in read_manifest(truth, ()) if row["sha256"] in hashes]:
        log.warning(
            "%s was trained on %d of these images, so its scores are too high: %s",
            version.uri,
            len(known),
            join_names(known),
        )


def _read_scores(name: str, given: str | None, version: Version) -> EvaluationTable:
    """Return the scores of a version from an earlier evaluation."""
    source = given or f"runs:/{version.run_id}"
    try:
        scored = read_evaluation(name, source, locate_scores(source))
    except ModelError as error:
        raise ModelError(
            version.uri,
            error.problems,
            "Give annotated images, truth=dataset/test.csv, to score both versions now. Or run "
            f"cytoloop predict checkpoint={shlex.quote(version.uri)} input=... output=preds/, then "
            "cytoloop evaluate predictions=preds/predictions.csv truth=... output=eval/",
        ) from error
    check_run(scored, version.run_id)
    return scored


def _describe_verdict(comparison: Comparison, champion: Version, rule: VerdictRule) -> str:
    """Return the verdict with its reason and its rule, in a line."""
    words = {
        "better": "better than",
        "worse": "worse than",
        "no evidence": "no evidence of a difference from",
    }
    verdict = f"{words[comparison.verdict]} version {champion.number}"
    settings = f"score={comparison.main} min_effect={rule.min_effect:g} min_units={rule.min_units}"
    images = len(comparison.shared.images)
    return f"{verdict}; {comparison.reason} ({settings}, {images} images)"
