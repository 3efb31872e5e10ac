"""Rows as CytoDL reads them: what its columns cannot say is written out as files.

CytoDL's `im2im/segmentation_plugin` reads one channel of each file, the same for all rows, and
one outline that goes through all z for each region; of regions of 2D images it reads none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from cytoloop.curation.splits.assign import SPLIT_NAMES
from cytoloop.errors import ConfigError, CytoloopError, ManifestError
from cytoloop.io.names import stem
from cytoloop.io.read import Header, read_header
from cytoloop.io.voxel_size import Spacing
from cytoloop.manifest import Row
from cytoloop.truth.regions import read_region
from cytoloop.truth.targets import read_target, row_file
from cytoloop.urls import is_remote

SMALLEST = 4
"""Voxels along each axis that the net of CytoDL's config needs: it halves twice."""


@dataclass
class Plan:
    """How a row is said in CytoDL's columns.

    Attributes
    ----------
    row : Row
    name : str
        Of the files that are written for it, unique.
    split : str
        ``train``, ``valid`` or ``test``.
    shape : tuple of int
        ([Z,] Y, X).
    spacing_um : tuple of float or None
        Voxel size (Z, Y, X).
    channels : dict of str to (int or None)
        Image column to the channel of its file; None where CytoDL would not find the picture in
        the file (another format, several scenes or time points).
    merge : str
        ``none``; ``outline``, through CytoDL's own merging; or ``written``, as merged labels.
    excludes : bool
        Something is excluded.
    problems : list of str
        Why CytoDL cannot use the row.
    """

    row: Row
    name: str
    split: str = ""
    shape: tuple[int, ...] = ()
    spacing_um: Spacing | None = None
    channels: dict[str, int | None] = field(default_factory=dict)
    merge: str = "none"
    excludes: bool = False
    problems: list[str] = field(default_factory=list)


def make_plans(rows: Sequence[Row], on_problem: str) -> tuple[list[Plan], dict[str, str]]:
    """Return the plan of each row that CytoDL can use, and why it cannot use the others.

    Parameters
    ----------
    rows : sequence of Row
        Rejected ones are passed over.
    on_problem : str
        ``refuse`` or ``reject``.

    Returns
    -------
    plans : list of Plan
    left_out : dict of str to str
        Id to reason.

    Raises
    ------
    ConfigError
        Another `on_problem`.
    ManifestError
        Rows that CytoDL cannot use, all of them, if they are refused; 2D and 3D images together;
        no row to train or none to validate on.
    """
    if on_problem not in ("refuse", "reject"):
        raise ConfigError("on_problem", f"{on_problem!r}", "Expected refuse or reject.")
    kept = [row for row in rows if row["status"] != "reject"]
    plans = [_plan(row, name) for row, name in zip(kept, _file_names(kept), strict=True)]
    bad = [plan for plan in plans if plan.problems]
    if bad and on_problem == "refuse":
        raise ManifestError(
            "export",
            [problem for plan in bad for problem in plan.problems],
            "Mend or reject these rows, or give on_problem=reject to go on without them.",
        )
    good = [plan for plan in plans if not plan.problems]
    _check_together(good)
    return good, {plan.row.id: "; ".join(plan.problems) for plan in bad}


def _plan(row: Row, name: str) -> Plan:
    """Return how CytoDL can be told of a row; it never raises for what a row holds."""
    plan = Plan(row, name, SPLIT_NAMES.get(row["split"], ""))
    if not plan.split:
        where = row.where("split")
        plan.problems.append(f"{where}: {row['split']!r}; expected train, valid or test")
    base = row["base_image"] or "seg1"
    if base not in ("seg1", "seg2"):
        plan.problems.append(f"{row.where('base_image')}: {base!r}; expected seg1 or seg2")
    elif not row["seg2"] and (base == "seg2" or row["merge_mask"]):
        plan.problems.append(f"{row.where('seg2')}: is empty, but merging needs it")
    for column in ("raw", "seg1", "seg2"):
        if row[column] or column != "seg2":
            with _reading(plan, column):
                _plan_image(plan, column)
    if not plan.problems:
        with _reading(plan, "merge_mask"):
            _plan_merging(plan)
        with _reading(plan, "exclude_mask"):
            _plan_excluding(plan)
    return plan


def _plan_image(plan: Plan, column: str) -> None:
    row, path = plan.row, row_file(plan.row, column)
    cell = "channel" if column == "raw" else f"channel_{column}"
    header = read_header(path)
    several = len(header.scenes) > 1 or header.shape[0] > 1
    if several and row["scene"]:
        header = read_header(path, row["scene"])
    if not row[cell] and header.shape[1] > 1:
        plan.problems.append(
            f"{row.where(column)}: has channels {', '.join(header.channels)}, and CytoDL's "
            f"config reads one; name it in the column {cell}"
        )
        return
    number = _channel_number(header, row[cell])
    if number is None:
        known = ", ".join(f"{i}: {name}" for i, name in enumerate(header.channels))
        plan.problems.append(f"{row.where(cell)}: no channel {row[cell]!r} ({known})")
        return
    plain = path.name.lower().endswith((".tif", ".tiff")) and not several
    # of a picture in colours, CytoDL can take the first sample only; a copy may not stay
    plain = plain and not is_remote(row[column])
    plan.channels[column] = number if plain and not _in_colours(header) else None
    if column == "raw":
        plan.shape = header.spatial
        plan.spacing_um = row.spacing_um or header.spacing_um
        if min(plan.shape) < SMALLEST:
            plan.problems.append(
                f"{row.where(column)}: shape {plan.shape}, but CytoDL's net needs {SMALLEST} "
                "voxels along each axis"
            )
    elif plan.shape and header.spatial != plan.shape:
        plan.problems.append(f"{row.where(column)}: shape {header.spatial} but raw is {plan.shape}")


def _plan_merging(plan: Plan) -> None:
    row = plan.row
    if not row["merge_mask"]:
        return
    region = read_region(row_file(row, "merge_mask"), plan.shape)
    if region.any():
        clips = (row["merge_rule"] or "clip") == "clip"
        plan.merge = "outline" if clips and region.ndim == 3 and _is_column(region) else "written"
    if plan.merge == "written":
        read_target(row)  # raises what is wrong with it before anything is written


def _plan_excluding(plan: Plan) -> None:
    row = plan.row
    if not row["exclude_mask"]:
        return
    region = read_region(row_file(row, "exclude_mask"), plan.shape)
    plan.excludes = bool(region.any())  # CytoDL fails on an empty list of outlines
    where = row.where("exclude_mask")
    if plan.excludes and region.ndim == 2:
        plan.problems.append(f"{where}: excludes part of a 2D image, where CytoDL fails on it")
    elif plan.excludes and not _is_column(region):
        plan.problems.append(
            f"{where}: differs between planes, but CytoDL takes one outline for all z"
        )


def _check_together(plans: Sequence[Plan]) -> None:
    problems = []
    flat = [plan.row.id for plan in plans if len(plan.shape) == 2]
    if flat and len(flat) < len(plans):
        deep = [plan.row.id for plan in plans if len(plan.shape) == 3]
        problems.append(
            f"2D images ({', '.join(flat)}) and 3D images ({', '.join(deep)}): CytoDL trains on "
            "one kind at a time"
        )
    problems += [
        f"no row of split {split} to export"
        for split in ("train", "valid")
        if all(plan.split != split for plan in plans)
    ]
    if problems:
        raise ManifestError("export", problems, "Choose other rows, or curate more images.")


@contextmanager
def _reading(plan: Plan, column: str) -> Iterator[None]:
    """Turn what is raised while a file is read into a problem of the row."""
    try:
        yield
    except CytoloopError as error:
        # some errors name the cell themselves
        named = error.where.startswith("row ")
        where = error.where if named else f"{plan.row.where(column)}: {error.where}"
        plan.problems.append(f"{where}: {'; '.join(error.problems)}")


def _channel_number(header: Header, text: str) -> int | None:
    """Return the number of a channel named in a cell (the only one if none is); None: unknown."""
    if text in header.channels:
        return header.channels.index(text)
    number = int(text or 0) if not text or re.fullmatch("[0-9]+", text) else -1
    return number if 0 <= number < header.shape[1] else None


def _in_colours(header: Header) -> bool:
    return header.channels[:1] == ("sample 0",)


def _is_column(region: np.ndarray) -> bool:
    """Tell whether a region (Z, Y, X) is the same in all planes."""
    return bool((region == region[0]).all())


def _file_names(rows: Sequence[Row]) -> list[str]:
    """Return a file name for each row: the raw stem, as the plugin has it, else from the id."""
    stems = [stem(row["raw"]) for row in rows]
    count = Counter(name.casefold() for name in stems)
    taken: set[str] = set()
    names = []
    for row, own in zip(rows, stems, strict=True):
        wanted = row.id if count[own.casefold()] > 1 else own
        wanted = re.sub(r"[^\w.-]+", "_", wanted) or "image"
        name, number = wanted, 1
        while name.casefold() in taken:  # file systems that know no case
            number += 1
            name = f"{wanted}_{number}"
        taken.add(name.casefold())
        names.append(name)
    return names
