"""Scores of all pairs of prediction and truth, with all files that cannot be scored at once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from cytoloop.errors import CytoloopError, ManifestError
from cytoloop.evaluation.inputs.pairing import PairedRows
from cytoloop.evaluation.scoring.image import ScoredImage
from cytoloop.evaluation.settings import EvaluationSettings
from cytoloop.io.notes import collect_notes
from cytoloop.manifest import Row
from cytoloop.terminal import progress_bar
from cytoloop.workers.engine import Engine

log = logging.getLogger(__name__)

ScoreImage = Callable[[Row, Row, EvaluationSettings], ScoredImage | None]


@dataclass(frozen=True)
class Failure:
    """Why an image could not be scored, and how to repair it."""

    problems: list[str]
    repair: str = ""


def score_pairs(
    paired: PairedRows,
    source: str,
    settings: EvaluationSettings,
    score: ScoreImage,
    engine: Engine,
) -> tuple[list[ScoredImage], list[str]]:
    """Return the scored images, and the ids of completely excluded images.

    Parameters
    ----------
    paired : PairedRows
    source : str
        Source of the predictions, for messages.
    settings : EvaluationSettings
    score : callable
        Of one prediction and its truth; None for a completely excluded image.
    engine : Engine

    Raises
    ------
    ManifestError
        Images that cannot be scored, all of them.
    """
    pairs = paired.pairs
    score_one = partial(_score_pair, settings=settings, score=score)
    found: dict[int, ScoredImage | Failure | None] = {}
    with progress_bar("scoring", len(pairs), True) as advance:
        for number, result in engine.run(score_one, pairs):
            found[number] = result
            advance()
    results = [found[number] for number in range(len(pairs))]
    failures = [one for one in results if isinstance(one, Failure)]
    if failures:
        repairs = dict.fromkeys(one.repair for one in failures if one.repair)
        repair = "Repair these files, or remove the images from both tables."
        problems = [text for one in failures for text in one.problems]
        raise ManifestError(source, problems, " ".join([*repairs, repair]))
    images = [one for one in results if isinstance(one, ScoredImage)]
    excluded = [pair[0].id for pair, one in zip(pairs, results, strict=True) if one is None]
    return images, excluded


def _score_pair(
    pair: tuple[Row, Row], settings: EvaluationSettings, score: ScoreImage
) -> ScoredImage | Failure | None:
    """Return the scores of one prediction; None for a completely excluded image."""
    prediction, true = pair
    try:
        with collect_notes() as notes:
            image = score(prediction, true, settings)
    except CytoloopError as error:
        problems = [f"{prediction.id}: {error.where}: {text}" for text in error.problems]
        return Failure(problems, error.repair)
    except Exception as error:  # of one image: the others are still checked
        log.exception("unexpected error, a bug of CytoLoop")
        return Failure([f"{prediction.id}: unexpected {type(error).__name__}: {error}"])
    if image is not None and notes:
        image.row["warnings"] = "; ".join(notes)
    return image
