"""The pipeline of a curation: sources, decisions and settings in, a data set out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cytoloop.curation.assign_splits import assign_splits, splits_of_table
from cytoloop.curation.checks.check_cache import CheckJob
from cytoloop.curation.checks.dataset import add_problems, find_inconsistent_rows
from cytoloop.curation.checks.duplicates import add_similarity, find_duplicates, find_nearest
from cytoloop.curation.checks.empty_planes import report_empty_planes
from cytoloop.curation.checks.parallel import check_in_parallel
from cytoloop.curation.checks.predictions import measure_predictions
from cytoloop.curation.checks.ranking import rank_rows, stated_ranks
from cytoloop.curation.checks.result import CheckResult
from cytoloop.curation.checks.row import CheckOptions
from cytoloop.curation.checks.voxel_sizes import warn_of_different_sizes
from cytoloop.curation.cut_images import cut_images
from cytoloop.curation.decisions.apply import (
    apply_corrections,
    apply_decisions,
    apply_limits,
    clear_automatic_decisions,
    read_logs,
    reject_problems,
    warn_about_spacing,
)
from cytoloop.curation.decisions.latest import latest_decisions
from cytoloop.curation.exchange.registry import DATASET_FORMATS
from cytoloop.curation.file_names import MASK_FOLDER
from cytoloop.curation.output.made_images import remove_new_images_on_failure
from cytoloop.curation.output.merged_targets import write_merged_targets
from cytoloop.curation.output.report import write_report
from cytoloop.curation.output.result import CurationResult
from cytoloop.curation.output.write import write_dataset
from cytoloop.curation.previous.carry_over import (
    add_previous_rows,
    inherit_cells,
    inherit_settings,
    splits_of_renamed_images,
    warn_changed_images,
    warn_changed_settings,
)
from cytoloop.curation.previous.read import read_previous_round
from cytoloop.curation.region_masks import Regions
from cytoloop.curation.row_cells import fill_from_check
from cytoloop.curation.settings import CurationSettings
from cytoloop.curation.sources import read_sources
from cytoloop.curation.splits.names import SPLITS
from cytoloop.manifest import Row, absolute_path, stack_of

log = logging.getLogger(__name__)


def curate(
    settings: CurationSettings, progress: bool = False, cache: str | Path | None = None
) -> CurationResult:
    """Pair, check and split images, and write the data set.

    Parameters
    ----------
    settings : CurationSettings
    progress : bool
        Show a progress bar on the terminal while images are checked.
    cache : str or Path, optional
        Database of check results, used by later runs.

    Raises
    ------
    ConfigError
        Settings that do not fit the images (unknown groups, missing sources).
    ManifestError
        Files without partners and rows with problems, unless ``on_problem="reject"``; decisions
        with problems; too few images; near-duplicates in different splits.
    OutputError
        A folder that cannot be written to, or that holds other tables. Nothing is written in any
        of these cases.
    """
    output = absolute_path(str(settings.output))
    previous = read_previous_round(settings)
    settings = inherit_settings(settings, previous)
    sources = read_sources(settings)
    rows = sources.rows
    cut_images(sources, settings, previous)
    warn_changed_settings(settings, previous)
    inherit_cells(sources, settings, previous)
    add_previous_rows(sources, settings, previous)
    stated = stated_ranks(rows)
    logs = read_logs(settings, previous.folder)
    decisions = latest_decisions(logs.lines)
    clear_automatic_decisions(rows, decisions)
    splits = splits_of_table(rows, previous.splits, str(settings.raw)) | dict(previous.splits)
    regions = apply_decisions(sources, decisions, settings)
    made_from = apply_corrections(rows, decisions, regions)
    with remove_new_images_on_failure(output):
        checked = [row for row in rows if row["status"] != "reject"]
        found = _check_images(checked, regions, splits, settings, cache, progress)
        nearest = find_nearest(found, {row.id: stack_of(row) for row in checked if row["plane"]})
        results = {result.id: result for result in add_similarity(found, nearest)}
        for row in checked:
            fill_from_check(row, results[row.id], sources.regions[row.id], regions[row.id])
        reject_problems(checked, results, settings)
        warn_about_spacing(results, settings.spacing_um)
        warn_of_different_sizes(list(results.values()), str(settings.output))
        kept = [row for row in checked if row["status"] != "reject"]
        report_empty_planes(kept, results, "planes=annotated")
        if settings.predictions:
            results = measure_predictions(checked, results, settings.predictions, progress)
        flags = apply_limits(checked, results, settings)
        warn_changed_images(results, previous)
        splits |= splits_of_renamed_images(rows, results, previous)
        assign_splits(rows, results, settings, splits, previous.folds)
        ranking = rank_rows(results, settings.limits, flags, nearest, stated)
        result = CurationResult(rows, results, ranking, sources.unmatched, made_from, logs)
        if settings.materialize:
            made_from |= write_merged_targets(result.kept, results, output)
        files = write_dataset(result, settings, previous)
    _log_summary(result)
    files += _write_extras(result, settings, output)  # an error here leaves the data set as it is
    return replace(result, files=files)


def _check_images(
    rows: Sequence[Row],
    regions: Mapping[str, Regions],
    splits: Mapping[str, str],
    settings: CurationSettings,
    cache: str | Path | None,
    progress: bool,
) -> list[CheckResult]:
    """Return the check result of each row, with problems between rows.

    A row has a problem if another group has the same image. Of two such rows, it is the one without
    a split, else the later one.
    """
    options = CheckOptions(absolute_path(str(settings.output)) / MASK_FOLDER, settings.instances)
    jobs = [CheckJob(row, regions[row.id]) for row in rows]
    path = Path(cache) if cache else None
    results = check_in_parallel(jobs, options, settings.processes, path, progress)
    results = add_problems(results, find_inconsistent_rows(results))
    if settings.leakage == "allow":
        return results
    order = sorted(range(len(rows)), key=lambda i: (rows[i].id not in splits, i))
    groups = [f"group {rows[i]['group']}" for i in order]
    found = find_duplicates([rows[i] for i in order], [results[i] for i in order], groups)
    return add_problems(results, [(order[i], problem) for i, problem in found])


def _write_extras(result: CurationResult, settings: CurationSettings, output: Path) -> list[Path]:
    """Write the report and the export that the settings request; return their files."""
    files = []
    if settings.report:
        files.append(write_report(output, result, settings.limits, settings.predictions))
        log.info("report: %s", files[-1])
    if settings.export:
        folder = output / settings.export
        exporter = DATASET_FORMATS[settings.export]
        export = exporter.write(folder, result.kept, settings.on_problem)
        for name, reason in export.left_out.items():
            log.warning("not exported: %s: %s", name, reason)
        log.info("exported to %s", folder)
        files += export.files
    return files


def _log_summary(result: CurationResult) -> None:
    """Log the number of images per split and per flag, and the image to review first."""
    counts = result.counts
    in_splits = ", ".join(f"{counts[split]} {split}" for split in SPLITS)
    unmatched = f", {counts['unmatched']} unmatched" if counts["unmatched"] else ""
    in_splits += f", {counts['reject']} rejected"
    log.info("%d images: %s%s", counts["images"], in_splits, unmatched)
    flags = Counter(flag for row in result.rows for flag in row["flags"].split())
    if flags:
        text = ", ".join(f"{name} {count}" for name, count in flags.most_common())
        log.info("flagged: %s; see quality.csv, first %s", text, result.ranking[0].id)
