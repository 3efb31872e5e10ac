"""Decides which images are cut in space into train, valid and test, and cuts them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from cytoloop.curation.previous.read import PreviousRound
from cytoloop.curation.region_masks import Regions
from cytoloop.curation.settings import CurationSettings
from cytoloop.curation.sources import Sources
from cytoloop.curation.splits.in_space import Part, cut_row, parts_of_previous_rows, plan_parts
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
    rows, cut = [], []
    known: dict[tuple[str, str], list[Part] | None] = {}
    for row in sources.rows:
        scene = (row.location("raw"), row["scene"])
        parts = known.get(scene) or _parts(row, sources.rows, settings, previous)
        known[scene] = parts
        if not parts:
            rows.append(row)
            continue
        cut.append(row["group"] if row["plane"] else row.id)
        stated = sources.regions.pop(row.id)
        for part, new in zip(parts, cut_row(row, parts), strict=True):
            rows.append(new)
            sources.regions[new.id] = Regions((*stated.exclude, part.rule), stated.merge)
    if not cut:
        return
    sources.rows[:] = sorted(rows, key=lambda row: row.id)
    log.warning(
        "%s: cut in space into train, valid and test, with gaps. Scores of parts of one image say "
        "how well the model continues this image, not how well it does on other images",
        join_names(dict.fromkeys(cut)),
    )


def _parts(
    row: Row, rows: Sequence[Row], settings: CurationSettings, previous: PreviousRound
) -> list[Part] | None:
    """Return the parts of an image, None if it stays whole."""
    if settings.in_space is False or row["split"] or row["status"] == "reject":
        return None
    known = parts_of_previous_rows(row, list(previous.rows.values()))
    if known:
        return known
    is_new = row.id not in previous.rows
    planes = [one for one in rows if one["plane"] and stack_of(one) == stack_of(row)]
    same = planes if row["plane"] else [row]
    is_only = len(rows) == len(same) and not previous.rows
    if not is_new or not (settings.in_space is True or is_only):
        return None
    valid, test = parse_request(settings.valid), parse_request(settings.test)
    if not isinstance(valid, float) or not isinstance(test, float):
        return None  # groups by name: a single image then has its own error
    return plan_parts(same, valid, test, settings.gap)
