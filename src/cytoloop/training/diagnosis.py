"""A diagnosis of a finished training: what its curves and its data say, and what to do next.

Pure functions over the lines of ``progress.jsonl`` and facts of the training images.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

POOR_SCORE = 0.5
"""A best score below it is poor: most findings are looked for only then. A Dice of 0.5 means that
half of what was found or sought is wrong; trained recipes reach 0.7 and more within minutes."""
MIN_STEPS = 12
"""Fewest logged steps (one in ten) for a statement on the training loss: 4 in each third."""
MIN_VALIDATIONS = 6
"""Fewest validations for a statement on their course: 2 in each third."""
FLAT_LOSS = 0.95
"""A loss that is above this part of its start has not decreased: a step's loss varies by some
percent with its patches, and a mean over a third of a training by less."""
RISEN_LOSS = 1.5
"""A training loss above this multiple of its start has diverged; warm-up raises it by less."""
OVERFITTED_LOSS = 1.2
"""Validation loss against its lowest value. It rises by some percent in good trainings, whose
probabilities become more certain; the score must fall as well."""
FALLEN_SCORE = 0.03
"""A score that is lower by this at the end than at its best has fallen, beyond its noise."""
STILL_RISING = 0.05
"""A score that rose by this in the last third had not arrived."""
PLATEAU = 0.01
"""A score that rose by less in the second half of its validations has arrived."""
RARE_FOREGROUND = 0.005
"""Fraction of object voxels below which a network gains by predicting background everywhere."""
FEW_OBJECTS = 20
"""Fewer objects show too little of how objects differ; published models use hundreds."""
MIN_CONTRAST = 0.2
"""Difference of mean grey level inside and around objects, in standard deviations of the
surroundings, below which masks and image have nothing to do with each other."""


@dataclass(frozen=True)
class DataFacts:
    """Facts of the training images.

    Attributes
    ----------
    path : str
        The data set.
    objects : int
        Number of training objects.
    foreground : float
        Fraction of object voxels, 0 to 1.
    patch : tuple of int
        Patch size, [Z,] Y, X.
    extent : tuple of float
        Median extent of the objects in voxels, [Z,] Y, X; empty without objects.
    image : tuple of int
        Median size of the images, [Z,] Y, X.
    contrast : float or None
        See `MIN_CONTRAST`: median over images of the channel with the highest one. None if it was
        not measured.
    instances : bool
        Whether the model separates objects, so that their number counts.
    """

    path: str
    objects: int
    foreground: float
    patch: tuple[int, ...]
    extent: tuple[float, ...] = ()
    image: tuple[int, ...] = ()
    contrast: float | None = None
    instances: bool = True


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes
    ----------
    name : str
        For example ``overfitting``.
    text : str
        What was found, with its numbers.
    next : str
        The next command to type.
    """

    name: str
    text: str
    next: str


@dataclass(frozen=True)
class Course:
    """The course of a training.

    Attributes
    ----------
    steps, losses : ndarray
        (N,): training loss of every tenth step.
    validated, validation_losses, scores : ndarray
        (M,): step, ``val/loss`` and monitored score of each validation; NaN where it is unknown.
    """

    steps: np.ndarray
    losses: np.ndarray
    validated: np.ndarray
    validation_losses: np.ndarray
    scores: np.ndarray

    @classmethod
    def of_lines(cls, lines: Sequence[Mapping[str, Any]], monitor: str) -> Course:
        """Return the course that the lines of ``progress.jsonl`` describe."""
        steps = [line for line in lines if line.get("loss") is not None]
        validations = [line for line in lines if line.get("event") == "validation"]

        def of_validations(name: str) -> np.ndarray:
            found = [(line.get("scores") or {}).get(name) for line in validations]
            return np.array([math.nan if one is None else float(one) for one in found])

        return cls(
            np.array([float(line["step"]) for line in steps]),
            np.array([float(line["loss"]) for line in steps]),
            np.array([float(line["step"]) for line in validations]),
            of_validations("val/loss"),
            of_validations(monitor),
        )


def diagnose(
    lines: Sequence[Mapping[str, Any]],
    monitor: str,
    folder: str,
    rate: float | None = None,
    facts: DataFacts | None = None,
) -> list[Finding]:
    """Return what the curves and the data of a training say; empty for a healthy one.

    Parameters
    ----------
    lines : sequence of mapping
        Of ``progress.jsonl``.
    monitor : str
        The score that selects the best checkpoint; ``.../loss`` is a loss, others are scores in
        [0, 1], of which a high one is good.
    folder : str
        Of the training, for the commands.
    rate : float, optional
        Highest learning rate.
    facts : DataFacts, optional
    """
    course = Course.of_lines(lines, monitor)
    best = _best(course, monitor)
    has_score, poor = not math.isnan(best), best < POOR_SCORE
    again = f"cytoloop train rerun={shlex.quote(folder)}"
    lower = (
        f"{again} model.optimizer.lr={rate / 5:.3g}" if rate else f"{again} trainer.precision=32"
    )
    if (found := _divergence(course, lower)) is not None:
        return [found]  # nothing else can be concluded
    found_all = [*_overfitting(course, has_score, again)]
    if poor or not has_score:
        found_all += _flat_loss(course, lower)
    if facts is not None:
        causes = [*_data(facts, again)] if poor else []
        found_all = [*causes, *_patch(facts, again), *found_all]
    if poor and not found_all:  # else the score follows from what was found
        found_all += _course_of_score(course, monitor, best, folder, again)
    return found_all


def is_poor(lines: Sequence[Mapping[str, Any]], monitor: str) -> bool:
    """Return whether the best score of a training is poor; parameters are those of `diagnose`."""
    return _best(Course.of_lines(lines, monitor), monitor) < POOR_SCORE


def _best(course: Course, monitor: str) -> float:
    """Return the best score; NaN without one, or if the monitored value is a loss."""
    known = course.scores[np.isfinite(course.scores)]
    return float(known.max()) if len(known) and not monitor.endswith("loss") else math.nan


def as_json(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """Return findings as plain values."""
    return [asdict(one) for one in findings]


def _divergence(course: Course, lower: str) -> Finding | None:
    """Return a finding if losses became NaN or rose above their start."""
    for name, values in (("training", course.losses), ("validation", course.validation_losses)):
        # an unknown validation loss is NaN as well: one that was known and is no more diverged
        if len(values) and (np.isinf(values[-1]) or np.isnan(values[-1]) > np.isnan(values).all()):
            return Finding("divergence", f"The {name} loss became {values[-1]}.", lower)
    if len(course.losses) < MIN_STEPS:
        return None
    part = max(len(course.losses) // 10, 2)
    first, last = (float(np.median(one)) for one in (course.losses[:part], course.losses[-part:]))
    if 0 < RISEN_LOSS * first < last:
        text = f"The training loss rose from {first:.3g} to {last:.3g}: it diverged."
        return Finding("divergence", text, lower)
    return None


def _overfitting(course: Course, has_score: bool, again: str) -> Iterator[Finding]:
    """Yield a finding if validation became worse while the training loss still fell."""
    values, count = course.validation_losses, len(course.validation_losses)
    if count < MIN_VALIDATIONS or len(course.losses) < MIN_STEPS or np.isnan(values).any():
        return
    best, tail = int(np.argmin(values)), max(count // 4, 2)
    end = float(np.mean(values[-tail:]))
    if best >= count - tail or end < OVERFITTED_LOSS * values[best] or values[best] <= 0:
        return
    around = course.losses[course.steps <= course.validated[best]][-4:]
    part = max(len(course.losses) // 4, 4)
    if len(around) and float(np.mean(course.losses[-part:])) >= float(np.mean(around)):
        return  # training became no better either
    if has_score and np.nanmax(course.scores) - np.nanmean(course.scores[-tail:]) < FALLEN_SCORE:
        return
    text = (
        f"Validation loss rose from {values[best]:.3g} (step {course.validated[best]:.0f}) to "
        f"{end:.3g} while training loss fell: the network learns its images by heart. More "
        "annotated images help most; best.ckpt is from before."
    )
    yield Finding("overfitting", text, f"{again} augmentation=strong early_stop=10")


def _flat_loss(course: Course, lower: str) -> Iterator[Finding]:
    """Yield a finding if the training loss is where it began."""
    if len(course.losses) < MIN_STEPS:
        return
    part = len(course.losses) // 3
    first, last = (float(np.mean(one)) for one in (course.losses[:part], course.losses[-part:]))
    if last > FLAT_LOSS * first > 0:
        text = (
            f"The training loss is not decreasing ({first:.3g} in the first third, {last:.3g} in "
            "the last): the learning rate is too high or too low, or masks do not fit the images."
        )
        yield Finding("loss_not_decreasing", text, lower)


def _course_of_score(
    course: Course, monitor: str, best: float, folder: str, again: str
) -> Iterator[Finding]:
    """Yield a finding on a poor score: it still rose, or it had stopped rising."""
    known = course.scores[np.isfinite(course.scores)]
    if len(known) < MIN_VALIDATIONS:
        return
    late = len(known) - max(len(known) // 3, 1)
    half = len(known) // 2
    name = monitor.removeprefix("val/")
    if known[late:].max() - known[:late].max() > STILL_RISING:
        text = f"{name} was still rising when the training ended (best {best:.3f})."
        command = f"cytoloop train rerun={shlex.quote(folder)} init_from={shlex.quote(folder)}"
        yield Finding("too_short", text, command)
    elif known[half:].max() - known[:half].max() < PLATEAU:
        text = (
            f"{name} stopped rising at {best:.3f} in the first half: more of the same does not "
            "help. Add annotated images, or take a larger network."
        )
        yield Finding("plateau", text, f"{again} model/size=large")


def _patch(facts: DataFacts, again: str) -> Iterator[Finding]:
    """Yield a finding if patches are smaller than the median object, and images are not."""
    sides = zip("ZYX"[-len(facts.patch) :], facts.patch, facts.extent, facts.image, strict=False)
    small = [
        f"{axis} {patch} < {extent:.0f}"
        for axis, patch, extent, image in sides
        if patch < extent and patch < image
    ]
    if small:
        text = (
            f"Patches are smaller than half of the objects ({', '.join(small)} voxels): the "
            "network never sees a whole one."
        )
        yield Finding("small_patch", text, f"{again} data.patch_size=auto")


def _data(facts: DataFacts, again: str) -> Iterator[Finding]:
    """Yield the findings on the data of a training with a poor score."""
    check = f"cytoloop check data.path={shlex.quote(facts.path)} preview=true"
    if facts.contrast is not None and facts.contrast < MIN_CONTRAST:
        text = (
            f"Masks may not fit the images: grey levels inside and around objects differ by "
            f"{facts.contrast:.2f} standard deviations. Compare them in preview.png."
        )
        yield Finding("masks_do_not_fit", text, check)
    if facts.instances and facts.objects < FEW_OBJECTS:
        text = (
            f"There are {facts.objects} training objects; at least {FEW_OBJECTS}, better hundreds, "
            "are needed. Annotate more, or start from a model of similar images (init_from=)."
        )
        yield Finding("few_objects", text, "cytoloop annotate --help")
    if 0 < facts.foreground < RARE_FOREGROUND:
        text = (
            f"Objects are {100 * facts.foreground:.2g} % of the voxels: nearly everything is "
            "background."
        )
        yield Finding("imbalance", text, f"{again} data.foreground_fraction=0.9")
