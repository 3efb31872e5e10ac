"""Settings of a curation: everything beside the images that its manifest depends on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from cytoloop.curation.keys import compile_pattern
from cytoloop.curation.split import Wish, as_wish, wish_problems
from cytoloop.errors import ConfigError

PATHS = ("relative", "absolute")
ON_PROBLEM = ("refuse", "reject")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to pair, how to split, where to write; wrong values are refused when it is made.

    Attributes
    ----------
    raw : str or Path
        A folder, a glob pattern, a file; or a CSV with the columns ``raw`` and ``seg1``, whose
        rows are used as they are.
    seg1, seg2, exclude : str, Path or None
        Sources of the segmentations and excluding masks; None where `raw` is a CSV.
    output : str or Path
        Folder of the data set.
    key : str
        ``stem``, or a regular expression with ``(?P<id>...)``.
    group : str or None
        A regular expression with ``(?P<group>...)``, searched in the raw file's name and then
        in the id; or the name of a column of the CSV. None: each image is a group.
    valid, test : float, str or sequence of str
        A share of the groups, or names of groups.
    seed : int
        Of the shares.
    spacing_um : sequence of float or None
        Voxel size (Z, Y, X), or (Y, X), in um, of rows that state none. None: as the files say.
    channel, channel_seg1, channel_seg2 : str, int or None
        Name or number of the channel, for rows that name none. None: all of raw, and the only
        one of a segmentation.
    paths : str
        ``relative`` to the data set, or ``absolute`` (plain CytoDL needs that).
    on_problem : str
        ``refuse`` to write anything, or ``reject`` the bad rows.

    Raises
    ------
    ConfigError
        All wrong values at once.
    """

    raw: str | Path
    output: str | Path
    seg1: str | Path | None = None
    seg2: str | Path | None = None
    exclude: str | Path | None = None
    key: str = "stem"
    group: str | None = None
    valid: Wish = 0.2
    test: Wish = 0.2
    seed: int = 12345
    spacing_um: Sequence[float] | None = None
    channel: str | int | None = None
    channel_seg1: str | int | None = None
    channel_seg2: str | int | None = None
    paths: str = "relative"
    on_problem: str = "refuse"

    def __post_init__(self) -> None:
        problems, repairs = self._problems()
        if problems:
            raise ConfigError("curation", problems, " ".join(dict.fromkeys(repairs)))

    @property
    def from_csv(self) -> bool:
        """Whether `raw` names a table of rows rather than images."""
        return str(self.raw).lower().endswith(".csv")

    def recorded(self) -> dict[str, Any]:
        """Return the settings for ``dataset.json``: plain values, without the output folder."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "output"}
        values |= {name: as_wish(values[name]) for name in ("valid", "test")}
        if self.spacing_um is not None:
            values["spacing_um"] = [float(size) for size in self.spacing_um]
        kept = (int, float, tuple, list, type(None))
        return {k: v if isinstance(v, kept) else str(v) for k, v in values.items()}

    def _problems(self) -> tuple[list[str], list[str]]:
        problems = wish_problems(self.valid, self.test)
        repairs = []
        for name, allowed in (("paths", PATHS), ("on_problem", ON_PROBLEM)):
            if getattr(self, name) not in allowed:
                problems.append(f"{name}={getattr(self, name)}: expected {' or '.join(allowed)}")
        if self.from_csv:
            for name in ("seg1", "seg2", "exclude"):
                if getattr(self, name):
                    problems.append(f"{name}={getattr(self, name)}: {self.raw} has a column for it")
                    repairs.append(f"Leave out {name}=.")
        elif not self.seg1:
            problems.append("seg1 is missing: where are the segmentations of the raw images?")
            repairs.append("Give seg1=FOLDER, or raw=FILE.csv with the columns raw and seg1.")
        if self.spacing_um is not None and not _is_spacing(self.spacing_um):
            problems.append(f"spacing_um={self.spacing_um}: expected sizes in um, all above 0")
            repairs.append("Give spacing_um=[z,y,x].")
        for name, part in (("key", "id"), ("group", "group")):
            text = getattr(self, name)
            if text and text != "stem" and "(" in text:  # else a column's name, known later
                try:
                    compile_pattern(text, part, name)
                except ConfigError as error:
                    problems += [f"{error.where}: {problem}" for problem in error.problems]
                    repairs.append(error.repair)
        return problems, repairs


def _is_spacing(sizes: Sequence[float]) -> bool:
    try:
        return len(sizes) in (2, 3) and all(0 < float(size) < float("inf") for size in sizes)
    except (TypeError, ValueError):
        return False
