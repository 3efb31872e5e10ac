"""Decides which images are cut in space into train, valid and test, and cuts them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from cytoloop.curation.previous.read import PreviousRound
from cytoloop.curation.region_masks import Regions
from cytoloop.curation.settings import CurationSettings
from cytoloop.curation.sources import Sources
from cytoloop.curation.splits.in_space import (
    Part,
    Stacks,
    cut_row,
    parts_of_previous_rows,
    plan_parts,
    stacks_of_previous_rows,
)
from cytoloop.curation.splits.names import SPLITS
from cytoloop.curation.splits.requests import parse_request
from cytoloop.errors import join_names
from cytoloop.manifest import Row, stack_of

log = logging.getLogger(__name__)


def cut_images(sources: Sources, settings: CurationSettings, previous: PreviousRound) -> None:
    """Replace images by their parts, where `settings.in_space` asks for it.

    With ``auto``, a single image is cut, and every image that the previous round has cut. Rows
    with a stated split, and rejected rows, stay as they are. All time points of a scene, and all
    planes of a stack, are cut at the same places: they show the same objects.

    Raises
    ------
    ManifestError
        An image cannot be cut.
    """
    rows, cut, names = [], [], set()
    known: dict[tuple[str, str], list[Part] | None] = {}
    stacks = stacks_of_previous_rows(previous.rows)
    for row in sources.rows:
        scene = (row.location("raw"), row["scene"])
        parts = known.get(scene) or _parts(row, sources.rows, settings, (previous.rows, stacks))
        known[scene] = parts
        if not parts:
            rows.append(row)
            continue
        cut.append(row["group"] if row["plane"] else row.id)
        stated = sources.regions.pop(row.id)
        names |= {part.split for part in parts}
        for part, new in zip(parts, cut_row(row, parts), strict=True):
            rows.append(new)
            sources.regions[new.id] = Regions((*stated.exclude, part.rule), stated.merge)
    if not cut:
        return
    sources.rows[:] = sorted(rows, key=lambda row: row.id)
    log.warning(
        "%s: cut in space into %s, with gaps. Scores of parts of one image say "
        "how well the model continues this image, not how well it does on other images",
        join_names(dict.fromkeys(cut)),
        join_names(name for name in SPLITS if name in names),
    )


def _parts(
    row: Row,
    rows: Sequence[Row],
    settings: CurationSettings,
    previous: tuple[Mapping[str, Row], Stacks],
) -> list[Part] | None:
    """Return the parts of an image, None if it stays whole."""
    if settings.in_space is False or row["split"] or row["status"] == "reject":
        return None
    known = parts_of_previous_rows(row, *previous)
    if known:
        return known

    def is_same(other: Row) -> bool:
        of_stack = bool(row["plane"] and other["plane"])
        return other is row or (of_stack and stack_of(other) == stack_of(row))

    is_new = row.id not in previous[0]
    is_only = not previous[0] and all(is_same(other) for other in rows)
    if not is_new or not (settings.in_space is True or is_only):
        return None
    same = [other for other in rows if is_same(other)]
    valid, test = parse_request(settings.valid), parse_request(settings.test)
    if not isinstance(valid, float) or not isinstance(test, float):
        return None  # groups by name: a single image then has its own error
    return plan_parts(same, valid, test, settings.gap)
