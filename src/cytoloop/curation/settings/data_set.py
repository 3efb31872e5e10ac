"""Settings of the data set: its rounds and decisions, its splits, and the files written."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cytoloop.curation.exchange.registry import DATASET_FORMATS
from cytoloop.curation.settings.validation import (
    SettingProblem,
    auto_or_switch,
    checked_by,
    one_of,
    true_or_false,
    whole_number,
)
from cytoloop.curation.splits.requests import SplitRequest, request_problems


@dataclass(frozen=True, kw_only=True)
class OutputSettings:
    """What is written, and where.

    Attributes
    ----------
    output : str or Path
        Folder of the data set.
    overwrite : bool
        Remove the data set that `output` holds and start a new one. False: the data set in
        `output` is the previous round. Decisions and files of users are never removed.
    paths : str
        ``relative`` to the data set, or ``absolute``, which plain CytoDL needs.
    report : bool
        Write ``report.html``.
    export : str or None
        ``cytodl``, ``segmenter_ml`` or ``nnunet``: also write the data set in the format of that
        program.
    """

    output: str | Path
    overwrite: bool = field(default=False, metadata=checked_by(true_or_false))
    paths: str = field(
        default="relative", metadata=checked_by(one_of("relative", "absolute"), "paths_in_manifest")
    )
    report: bool = field(default=False, metadata=checked_by(true_or_false))
    export: str | None = field(default=None, metadata=checked_by(one_of(*DATASET_FORMATS, None)))


@dataclass(frozen=True, kw_only=True)
class RoundSettings:
    """What this round takes over from the previous one and from curators.

    Attributes
    ----------
    parent : str, Path or None
        Data set of the previous round. None: the one in `output`, if there is one.
    parent_images : str
        ``keep`` or ``drop`` images of the parent data set that the sources do not name.
    decisions : str, Path or None
        The decisions log. None: ``decisions.csv`` in `output`, if there is one.
    undecided : str
        ``keep`` or ``reject`` images without a decision.
    """

    parent: str | Path | None = None
    parent_images: str = field(default="keep", metadata=checked_by(one_of("keep", "drop")))
    decisions: str | Path | None = None
    undecided: str = field(default="keep", metadata=checked_by(one_of("keep", "reject")))


@dataclass(frozen=True, kw_only=True)
class SplitSettings:
    """How groups are assigned to train, valid and test.

    Attributes
    ----------
    valid, test : float, str or sequence of str
        A fraction of the groups, or names of groups.
    seed : int
        Changes which groups the fractions draw.
    stratify : bool
        Draw groups so that each split has images with few and with many objects.
    folds : int or None
        Number of cross-validation folds of the images outside test.
    in_space : str or bool
        ``auto``: a single image is cut in space into train, valid and test. True: every image is;
        False: none is.
    gap : int or None
        Voxels between two parts of an image. None: the median side of an object, at most 5 % of
        the image.
    leakage : str
        ``refuse`` or ``allow`` the same image, or near-duplicates, in different splits.
    """

    valid: SplitRequest = 0.2
    test: SplitRequest = 0.2
    seed: int = field(default=12345, metadata=checked_by(whole_number("a whole number")))
    stratify: bool = field(default=False, metadata=checked_by(true_or_false, "split.stratify"))
    folds: int | None = field(
        default=None,
        metadata=checked_by(
            whole_number("a number of folds from 2 up, or null", minimum=2, allow_none=True),
            "split.folds",
        ),
    )
    in_space: str | bool = field(
        default="auto", metadata=checked_by(auto_or_switch, "split.in_space")
    )
    gap: int | None = field(
        default=None,
        metadata=checked_by(
            whole_number("voxels, 1 or more, or null", minimum=1, allow_none=True), "split.gap"
        ),
    )
    leakage: str = field(
        default="refuse", metadata=checked_by(one_of("refuse", "allow"), "split.leakage")
    )

    def split_problems(self) -> list[SettingProblem]:
        """Return what is wrong with the requested splits."""
        return [SettingProblem(text) for text in request_problems(self.valid, self.test)]
