"""The ranking of a pool of images without labels, and its tables."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich import box
from rich.markup import escape
from rich.table import Table

from cytoloop.curation.checks.predictions import read_predictions
from cytoloop.curation.checks.ranking import REVIEW_RANK
from cytoloop.curation.file_names import DATASET_CSV, QUALITY_CSV
from cytoloop.curation.pool.measure import FEATURES, Measured, features_of, measure
from cytoloop.curation.pool.orders import (
    DISAGREEMENT,
    MIXED,
    UNCERTAINTY,
    order_images,
    standardized,
)
from cytoloop.curation.pool.settings import RankSettings
from cytoloop.errors import CytoloopError, ManifestError, join_names, truncate_lines
from cytoloop.home import expand_home
from cytoloop.io.names import stem
from cytoloop.manifest import Row, read_manifest, read_table, write_manifest
from cytoloop.terminal import progress_bar
from cytoloop.workers.engine import Engine
from cytoloop.workers.local import has_large_files

log = logging.getLogger(__name__)

RANKED_FILE, NEXT_FILE = "ranked.csv", "next.csv"
COLUMNS = (
    *(REVIEW_RANK, "id", "order", DISAGREEMENT, UNCERTAINTY, "novelty"),
    *("raw", "seg1", "group", "channel", "scene", "time", "plane", "axes", "spacing_um"),
)
"""Columns of both tables."""
_COPIED = ("group", "channel", "scene", "time", "plane", "axes", "spacing_um")
_MAX_LISTED = 20


@dataclass(frozen=True)
class _Known:
    """Images that have labels: what identifies them, and their features."""

    places: frozenset[tuple[str, ...]]
    features: np.ndarray


def rank_pool(
    settings: RankSettings,
    output: str | Path,
    engine: Engine | None = None,
    progress: bool = False,
) -> list[dict[str, object]]:
    """Rank the images that all models have predicted, and write ``ranked.csv`` and ``next.csv``.

    Parameters
    ----------
    settings : RankSettings
    output : str or Path
        Folder of the tables.
    engine : Engine, optional
        Which processes measure the images; default: this one.
    progress : bool
        Show a progress bar on the terminal.

    Returns
    -------
    list of dict
        Rows of ``ranked.csv``.

    Raises
    ------
    ManifestError
        Tables that cannot be read, have no image in common, or are of the same model; too few
        models for the order; no image without labels. Nothing is written.
    """
    tables, known = _read_sources(settings)
    pool = _shared_images(tables, settings)
    measured = _measure_all(pool, engine or Engine(), progress)
    names = _unlabelled(pool, measured, known, settings)
    scores = _scores(settings.order, [measured[name] for name in names])
    features = np.array([measured[name].features for name in names])
    order, novelty = order_images(
        settings.order, scores, *standardized(features, known.features), settings.seed
    )
    rows = [
        _row(rank, pool[names[number]], measured[names[number]], new, settings.order)
        for rank, (number, new) in enumerate(zip(order, novelty, strict=True), start=1)
    ]
    for file, chosen in ((RANKED_FILE, rows), (NEXT_FILE, rows[: settings.count])):
        write_manifest(Path(output) / file, chosen, COLUMNS)
    return rows


def ranked_table(rows: Sequence[Mapping[str, object]]) -> Table:
    """Return the table of ranked images for the terminal."""
    shown = ("id", DISAGREEMENT, UNCERTAINTY, "novelty")
    table = Table(box=box.SIMPLE, show_edge=False)
    table.add_column("next", justify="right")
    for name in shown:
        table.add_column(name, justify="left" if name == "id" else "right", overflow="fold")
    for row in rows:
        table.add_row(str(row[REVIEW_RANK]), *(escape(str(row[name])) for name in shown))
    return table


def _read_sources(settings: RankSettings) -> tuple[list[dict[str, Row]], _Known]:
    """Return the rows of each table by id, and the labelled images; raise all faults at once."""
    problems: list[str] = []
    tables: list[dict[str, Row]] = []
    known = _Known(frozenset(), np.zeros((0, len(FEATURES))))
    for path in settings.predictions:
        try:
            found = read_predictions(path)
            tables.append({n: row for n, row in found.items() if row["status"] != "failed"})
        except CytoloopError as error:
            problems += [f"{error.where}: {one}" for one in error.problems]
    if settings.labelled is not None:
        try:
            known = _read_labelled(settings.labelled)
        except CytoloopError as error:
            problems += [f"labelled={error.where}: {one}" for one in error.problems]
    if not problems:
        problems = _model_problems(tables, settings)
    if problems:
        repair = "Predict the pool with each model: cytoloop predict checkpoint=A input=pool/ ..."
        raise ManifestError("cytoloop rank", problems, repair)
    return tables, known


def _read_labelled(folder: str) -> _Known:
    """Return what is known of the images of a curated data set."""
    path = expand_home(folder)
    path = path.parent if path.is_file() else path
    rows = list(read_manifest(path / DATASET_CSV))
    places = {place for row in rows for place in _places(row, row["sha256"])}
    quality = read_table(path / QUALITY_CSV)[2] if (path / QUALITY_CSV).is_file() else []
    features = [
        features_of({name: float(text) for name, text in one.items() if _is_number(text)})
        for one in quality
    ]
    return _Known(frozenset(places), np.array(features).reshape(-1, len(FEATURES)))


def _places(row: Row, sha256: str) -> list[tuple[str, ...]]:
    """Return what identifies the picture of a row: its file or the file's content, and its part."""
    part = (row["scene"], row["time"], row["plane"])
    content = sha256.removeprefix("sha256:")
    return [(row.location("raw"), *part), *([(content, *part)] if content else [])]


def _model_problems(tables: Sequence[Mapping[str, Row]], settings: RankSettings) -> list[str]:
    """Return tables of the same model, and what the order needs and the tables lack."""
    problems, seen = [], dict[str, str]()
    for path, table in zip(settings.predictions, tables, strict=True):
        digest = next((row["model_sha256"] for row in table.values()), "")
        if digest and digest in seen:
            problems.append(f"{path}: is of the same model as {seen[digest]}")
        seen.setdefault(digest, path)
    if settings.order == DISAGREEMENT and len(tables) < 2:
        problems.append("order=disagreement: needs the predictions of two models or more")
    has_maps = all(row["probability"] for table in tables for row in table.values())
    needs_maps = settings.order == UNCERTAINTY or (settings.order == MIXED and len(tables) < 2)
    if needs_maps and not has_maps:
        problems.append(f"order={settings.order}: needs probability maps (save=[probability,...])")
    return problems


def _shared_images(
    tables: Sequence[Mapping[str, Row]], settings: RankSettings
) -> dict[str, list[Row]]:
    """Return the rows of the images that all tables have, by id."""
    every = list(dict.fromkeys(name for table in tables for name in table))
    shared = [name for name in every if all(name in table for table in tables)]
    problems = [
        f"{name}: predicted on {join_names(sorted(found))}, which are not one image"
        for name in shared
        if len(found := {stem(table[name]["raw"]) for table in tables}) > 1
    ]
    if not shared:
        problems.append("the tables have no image in common")
    if problems:
        where = join_names(settings.predictions)
        raise ManifestError(
            where, truncate_lines(problems, _MAX_LISTED), "Predict one pool with all models."
        )
    if len(shared) < len(every):
        left = [name for name in every if name not in set(shared)]
        log.warning("left out, not predicted by all models: %s", join_names(left))
    return {name: [table[name] for table in tables] for name in shared}


def _measure_all(
    pool: Mapping[str, list[Row]], engine: Engine, progress: bool
) -> dict[str, Measured]:
    """Return what the models say of each image, by id."""
    names = list(pool)
    large = has_large_files([rows[0].file("raw") for rows in pool.values()])
    found: dict[str, Measured] = {}
    with progress_bar("comparing models", len(names), progress) as advance:
        for number, one in engine.run(measure, list(pool.values()), threads=large):
            found[names[number]] = one
            advance()
    return found


def _unlabelled(
    pool: Mapping[str, list[Row]],
    measured: Mapping[str, Measured],
    known: _Known,
    settings: RankSettings,
) -> list[str]:
    """Return the images that were measured and have no labels, sorted by id."""
    problems = [f"{name}: {measured[name].problem}" for name in pool if measured[name].problem]
    if problems:
        raise ManifestError(
            join_names(settings.predictions),
            truncate_lines(problems, _MAX_LISTED),
            "Predict these images again.",
        )
    names = [
        name
        for name in sorted(pool)
        if not known.places & set(_places(pool[name][0], measured[name].sha256))
    ]
    if not names:
        raise ManifestError(
            f"labelled={settings.labelled}",
            f"holds all {len(pool)} images of the predictions",
            "Predict images without labels.",
        )
    if len(names) < len(pool):
        log.info("left out: %d image(s) that %s holds", len(pool) - len(names), settings.labelled)
    return names


def _scores(order: str, images: Sequence[Measured]) -> np.ndarray:
    """Return the score of each image: disagreement if there are several models, else uncertainty.

    The order ``uncertainty`` takes the uncertainty.
    """
    disagreements = np.array([one.disagreement for one in images])
    uncertainties = np.array([one.uncertainty for one in images])
    if order == UNCERTAINTY or np.isnan(disagreements).all():
        return uncertainties
    return disagreements


def _row(
    rank: int, predicted: Sequence[Row], measured: Measured, novelty: float, order: str
) -> dict[str, object]:
    """Return the row of an image: its place, what was measured, and labels to correct."""
    chosen = predicted[measured.typical]
    labels = chosen.location("labels" if chosen["labels"] else "mask")
    numbers = {
        DISAGREEMENT: measured.disagreement,
        UNCERTAINTY: measured.uncertainty,
        "novelty": novelty,
    }
    return {
        REVIEW_RANK: rank,
        "id": chosen.id,
        "order": order,
        **{name: f"{value:.4g}" if np.isfinite(value) else "" for name, value in numbers.items()},
        "raw": chosen.location("raw"),
        "seg1": labels,
        **{name: chosen[name] for name in _COPIED},
    }


def _is_number(text: str) -> bool:
    try:
        return np.isfinite(float(text))
    except ValueError:
        return False
