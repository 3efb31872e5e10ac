"""Settings of a curation: everything beside the images that its manifest depends on."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from cytoloop.curation.checks.quality_limits import Limit, limits_of
from cytoloop.curation.exchange.registry import DATASET_FORMATS, find_format
from cytoloop.curation.pairing.keys import compile_pattern
from cytoloop.curation.region_cells import rule_problem
from cytoloop.curation.splits.assign import Wish, as_wish, wish_problems
from cytoloop.errors import ConfigError
from cytoloop.manifest import locate
from cytoloop.redact import redact_url
from cytoloop.truth.regions import MERGE_RULES
from cytoloop.urls import is_remote

SOURCES = ("raw", "seg1", "seg2", "merge", "exclude")
_CHOICES = {
    "paths": ("relative", "absolute"),
    "on_problem": ("refuse", "reject"),
    "undecided": ("keep", "reject"),
    "earlier": ("keep", "drop"),
    "leakage": ("refuse", "allow"),
    "base_image": (None, "seg1", "seg2"),
    "merge_rule": (None, *MERGE_RULES),
    "export": (None, *DATASET_FORMATS),
}
_NOT_RECORDED = ("output", "decisions", "predictions", "parent", "report", "workers", "export")
"""Where things lie and what is made beside the manifest: no part of what it says."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to pair, how to judge and split, where to write; wrong values are refused at once.

    Attributes
    ----------
    raw : str, Path or None
        A folder, a glob pattern, a file; a CSV with the columns ``raw`` and ``seg1``, whose
        rows are used as they are; or a Segmenter ML experiment folder. None: only the rows of
        the earlier round.
    seg1, seg2, merge, exclude : str, Path or None
        Sources of the segmentations and of merging and excluding regions; None where `raw` is
        a table.
    output : str or Path
        Folder of the data set.
    parent : str, Path or None
        Data set of the earlier round; None: the one in `output`, if there is one.
    earlier : str
        ``keep`` or ``drop`` rows of the earlier round that the sources do not name.
    decisions : str, Path or None
        The decisions log; None: ``decisions.csv`` of `output`, if there is one.
    undecided : str
        ``keep`` or ``reject`` images without a decision.
    key : str
        ``stem``, or a regular expression with ``(?P<id>...)``.
    group : str or None
        A regular expression with ``(?P<group>...)``, searched in the raw file's name and then
        in the id; or the name of a column of the CSV. None: each image is a group.
    valid, test : float, str or sequence of str
        A share of the groups, or names of groups.
    seed : int
        Of the shares.
    stratify : bool
        Draw the shares so that each split has images with few and with many objects.
    folds : int or None
        Number of folds for cross-validation of what is not for testing.
    leakage : str
        ``refuse`` or ``allow`` a picture, or one nearly like it, on two sides of the split.
    spacing_um : sequence of float or None
        Voxel size (Z, Y, X), or (Y, X), in um, of rows that state none. None: as the files say.
    channel, channel_seg1, channel_seg2 : str, int or None
        Name or number of the channel, for rows that name none. None: all of raw, and the only
        one of a segmentation.
    scene, scene_seg1, scene_seg2, time, time_seg1, time_seg2 : str, int or None
        The same for scenes (in HDF5: datasets) and time points; ``all`` for raw makes a row of
        each. None: the only one of raw, and for a segmentation that of raw.
    base_image : str or None
        ``seg1`` or ``seg2``, for rows that name none. None: ``seg1``.
    merge_rule : str or None
        ``clip`` or ``majority``, for rows that name none. None: ``clip``.
    exclude_rules : str or sequence of str
        Regions excluded from every image: ``outside_labels(20)``, ``saturated``, ``labels(3)``;
        several in one text are divided by ``;`` or ``,``.
    materialize : bool
        Write merged targets as OME-TIFF instead of merging whenever they are read.
    instances : bool
        Objects must be told apart: a binary segmentation with several objects is a problem.
    quality : mapping
        Limits of the quality figures, see `cytoloop.curation.checks.quality_limits`.
    predictions : str, Path or None
        ``predictions.csv`` of an earlier model, for the ranking.
    paths : str
        ``relative`` to the data set, or ``absolute`` (plain CytoDL needs that).
    on_problem : str
        ``refuse`` to write anything, or ``reject`` the bad rows and leave unmatched files out.
    report : bool
        Write ``report.html``.
    export : str or None
        ``cytodl`` or ``segmenter_ml``: also write the data set in that form.
    workers : int
        Processes that check images; 0: as many as there are cores (a script that asks for
        several needs the usual ``if __name__ == "__main__":``).

    Raises
    ------
    ConfigError
        All wrong values at once.
    """

    raw: str | Path | None = None
    output: str | Path
    seg1: str | Path | None = None
    seg2: str | Path | None = None
    merge: str | Path | None = None
    exclude: str | Path | None = None
    parent: str | Path | None = None
    earlier: str = "keep"
    decisions: str | Path | None = None
    undecided: str = "keep"
    key: str = "stem"
    group: str | None = None
    valid: Wish = 0.2
    test: Wish = 0.2
    seed: int = 12345
    stratify: bool = False
    folds: int | None = None
    leakage: str = "refuse"
    spacing_um: Sequence[float] | None = None
    channel: str | int | None = None
    channel_seg1: str | int | None = None
    channel_seg2: str | int | None = None
    scene: str | int | None = None
    scene_seg1: str | int | None = None
    scene_seg2: str | int | None = None
    time: str | int | None = None
    time_seg1: str | int | None = None
    time_seg2: str | int | None = None
    base_image: str | None = None
    merge_rule: str | None = None
    exclude_rules: str | Sequence[str] = ()
    materialize: bool = False
    instances: bool = False
    quality: Mapping[str, Any] = field(default_factory=dict)
    predictions: str | Path | None = None
    paths: str = "relative"
    on_problem: str = "refuse"
    report: bool = False
    export: str | None = None
    workers: int = 1

    def __post_init__(self) -> None:
        problems, repairs = self._problems()
        if problems:
            raise ConfigError("curation", problems, " ".join(dict.fromkeys(repairs)))

    @property
    def from_table(self) -> bool:
        """Whether `raw` names a table of rows rather than images."""
        raw = str(self.raw)
        return raw.lower().endswith(".csv") or find_format(DATASET_FORMATS, raw) is not None

    @property
    def sources(self) -> dict[str, str | Path | None]:
        """The sources that are paired by key."""
        return {name: getattr(self, name) for name in SOURCES}

    @property
    def rules(self) -> tuple[str, ...]:
        """The region rules, one by one."""
        given = self.exclude_rules
        if not isinstance(given, str):
            return tuple(map(str, given))
        parts = re.split(r"[;,](?![^()]*\))", given.strip().strip("[]"))
        return tuple(part.strip(" '\"") for part in parts if part.strip(" '\""))

    @property
    def limits(self) -> dict[str, Limit]:
        """Limits of the quality figures."""
        return limits_of(self.quality)

    def recorded(self) -> dict[str, Any]:
        """Return the settings for ``dataset.json``: plain values, without places of output."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values = {name: value for name, value in values.items() if name not in _NOT_RECORDED}
        values |= {name: as_wish(values[name]) for name in ("valid", "test")}
        values["quality"] = {name: limit.recorded() for name, limit in self.limits.items()}
        values["exclude_rules"] = list(self.rules)
        if self.spacing_um is not None:
            values["spacing_um"] = [float(size) for size in self.spacing_um]
        places = [name for name in SOURCES if values[name] is not None]
        values |= {name: self._from_output(str(values[name])) for name in places}
        kept = (int, float, tuple, list, dict, type(None))
        plain = {k: v if isinstance(v, kept) else str(v) for k, v in values.items()}
        return dict(json.loads(json.dumps(plain)))

    def _from_output(self, source: str) -> str:
        """Return a source as seen from the data set, wherever the command was started."""
        path = locate(source)
        if self.paths == "absolute":
            return str(path)
        try:
            return Path(os.path.relpath(path, locate(str(self.output)))).as_posix()
        except ValueError:  # Windows, another drive
            return str(path)

    def _problems(self) -> tuple[list[str], list[str]]:
        kinds = self._wrong_kinds()
        if kinds:  # the other checks would trip over them
            return kinds, []
        problems = wish_problems(self.valid, self.test)
        repairs = []
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                listing = " or ".join(str(one or "null") for one in allowed)
                problems.append(f"{name}={getattr(self, name)}: expected {listing}")
        found = self._source_problems()
        problems += [problem for problem, _ in found]
        repairs += [repair for _, repair in found]
        if self.spacing_um is not None and not _is_spacing(self.spacing_um):
            problems.append(f"spacing_um={self.spacing_um}: expected sizes in um, all above 0")
            repairs.append("Give spacing_um=[z,y,x].")
        for name in ("time", "time_seg1", "time_seg2"):
            text = str(getattr(self, name) if getattr(self, name) is not None else 0)
            if not text.isdigit() and (name, text) != ("time", "all"):
                also = " or all" if name == "time" else ""
                problems.append(f"{name}={text}: expected a time point, 0, 1, 2 ...{also}")
        for rule in self.rules:
            if told := rule_problem(rule):
                problems.append(f"exclude_rules: {told}")
        for name, part in (("key", "id"), ("group", "group")):
            text = getattr(self, name)
            if text and text != "stem" and "(" in text:  # else a column's name, known later
                try:
                    compile_pattern(text, part, name)
                except ConfigError as error:
                    problems += [f"{error.where}: {problem}" for problem in error.problems]
                    repairs.append(error.repair)
        try:
            limits_of(self.quality)
        except ConfigError as error:
            problems += error.problems
            repairs.append(error.repair)
        return problems, repairs

    def _wrong_kinds(self) -> list[str]:
        """Return the settings whose values are not even of the right kind."""
        found = []
        for name in ("stratify", "materialize", "instances", "report"):
            if not isinstance(getattr(self, name), bool):
                found.append((name, "true or false"))
        if not _is_whole(self.seed):
            found.append(("seed", "a whole number"))
        if self.folds is not None and not (_is_whole(self.folds) and self.folds >= 2):
            found.append(("folds", "a number of folds from 2 up, or null"))
        if not isinstance(self.key, str) or not self.key:
            found.append(("key", "stem, or a pattern with (?P<id>...)"))
        if not isinstance(self.quality, Mapping):
            found.append(("quality", "figures with their limits"))
        if self.exclude_rules is None or isinstance(self.exclude_rules, Mapping):
            found.append(("exclude_rules", "rules, or []"))
        for name in ("valid", "test"):
            wish = getattr(self, name)
            if wish is None or isinstance(wish, (bool, Mapping)):
                found.append((name, "a share, or names of groups"))
        if not _is_whole(self.workers) or self.workers < 0:
            found.append(("workers", "0 (all cores), 1, 2 ..."))
        return [f"{name}={_told(getattr(self, name))}: expected {what}" for name, what in found]

    def _source_problems(self) -> list[tuple[str, str]]:
        partners = [name for name in SOURCES[1:] if getattr(self, name)]
        urls = [name for name in SOURCES if is_remote(getattr(self, name))]
        if urls:
            return [
                (
                    f"{name}={redact_url(str(getattr(self, name)))}: is a URL, which is not listed",
                    "Name each image in the cells of a CSV: raw=FILE.csv.",
                )
                for name in urls
            ]
        if self.raw is None:
            found = [
                (f"{name}={getattr(self, name)}: of which raw images?", "Give raw=FOLDER.")
                for name in partners
            ]
            if not self._has_parent():
                found.append(("raw is missing: where are the images?", "Give raw= and seg1=."))
            return found
        if self.from_table:
            return [
                (
                    f"{name}={getattr(self, name)}: {self.raw} has a column for it",
                    f"Leave out {name}=.",
                )
                for name in partners
            ]
        if not self.seg1:
            return [
                (
                    "seg1 is missing: where are the segmentations of the raw images?",
                    "Give seg1=FOLDER, or raw=FILE.csv with the columns raw and seg1.",
                )
            ]
        return []

    def _has_parent(self) -> bool:
        folder = locate(str(self.parent or self.output))
        return (folder / "dataset.csv").is_file()


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _told(value: object) -> str:
    return "null" if value is None else str(value)


def _is_spacing(sizes: Sequence[float]) -> bool:
    try:
        return len(sizes) in (2, 3) and all(0 < float(size) < float("inf") for size in sizes)
    except (TypeError, ValueError):
        return False
