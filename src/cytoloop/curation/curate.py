"""Curation: (sources, decisions, settings) -> data set. Run twice, it writes the same bytes."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cytoloop.curation.checks.check_cache import Candidate
from cytoloop.curation.checks.dataset import add_problems, find_duplicates, find_odd_ones
from cytoloop.curation.checks.duplicates import add_similarity, find_nearest
from cytoloop.curation.checks.facts import Facts
from cytoloop.curation.checks.predictions import measure_predictions
from cytoloop.curation.checks.ranking import Ranked, rank_rows
from cytoloop.curation.checks.rows import Extras
from cytoloop.curation.checks.run import inspect_candidates
from cytoloop.curation.decisions.apply import (
    apply_limits,
    apply_verdicts,
    read_logs,
    reject_problems,
    warn_about_spacing,
)
from cytoloop.curation.decisions.latest import verdicts_of
from cytoloop.curation.exchange.registry import DATASET_FORMATS
from cytoloop.curation.output.materialize import materialize
from cytoloop.curation.output.report import write_report
from cytoloop.curation.output.write import Dataset, swept_on_failure, write_dataset
from cytoloop.curation.pairing.pairs import Unmatched
from cytoloop.curation.previous.carry_over import (
    inherit,
    splits_of_moved,
    tell_changed_images,
    tell_changes,
    with_group_of,
)
from cytoloop.curation.previous.read import (
    Earlier,
    add_earlier,
    forget_automatic,
    read_earlier,
    regions_cells,
)
from cytoloop.curation.region_masks import FOLDER, Regions
from cytoloop.curation.settings import Settings
from cytoloop.curation.sources import Sources, read_sources
from cytoloop.curation.split_rows import assign_splits, stated_splits
from cytoloop.curation.splits.assign import SPLITS
from cytoloop.manifest import Row, format_spacing, locate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CurationResult:
    """What a curation left.

    Attributes
    ----------
    rows : list of Row
        All rows, kept and rejected, as in ``dataset.csv`` but with absolute paths.
    facts : dict of str to Facts
        By id, of all rows that were checked.
    counts : dict of str to int
        ``images``, ``keep``, ``reject``, ``unmatched``, ``train``, ``valid``, ``test``.
    files : list of Path
        The files written.
    ranking : list of Ranked
        The rows that were checked, those to look at first in front.
    unmatched : list of Unmatched
        Files that are in no row.
    """

    rows: list[Row]
    facts: dict[str, Facts]
    counts: dict[str, int]
    files: list[Path]
    ranking: list[Ranked] = field(default_factory=list)
    unmatched: list[Unmatched] = field(default_factory=list)


def curate(
    settings: Settings, progress: bool = False, cache: str | Path | None = None
) -> CurationResult:
    """Pair, judge and split images, and write the data set.

    Parameters
    ----------
    settings : Settings
    progress : bool
        Show a bar on the terminal while images are checked.
    cache : str or Path, optional
        Where the findings of checks are kept from run to run.

    Raises
    ------
    ConfigError
        Settings that do not fit the images (unknown groups, missing sources).
    ManifestError
        Files without partners and bad rows, unless ``on_problem="reject"``; faulty decisions;
        too few images; pictures on two sides of the split.
    OutputError
        A folder that cannot, or must not, be written to. Nothing is written in any of these
        cases.
    """
    earlier = read_earlier(settings)
    settings = with_group_of(earlier, settings)
    sources = read_sources(settings)
    tell_changes(earlier, settings)
    inherit(sources, earlier, settings)
    add_earlier(sources, earlier, settings)
    decisions = read_logs(settings, earlier)
    verdicts = verdicts_of(decisions)
    forget_automatic(sources.rows, list(verdicts))
    kept = {**stated_splits(sources.rows, earlier.splits, str(settings.raw)), **earlier.splits}
    regions = apply_verdicts(sources.rows, sources.regions, verdicts, settings)
    output = locate(str(settings.output))
    with swept_on_failure(output):
        facts = _inspect(sources.rows, regions, kept, settings, output / FOLDER, progress, cache)
        found = _judge(settings, earlier, sources, regions, facts, kept, progress)
        found.log[:] = decisions
        files = write_dataset(found, settings, earlier)
    _tell(found)
    # what follows leaves the data set as it is, come what may
    files += _extras(found, output, settings)
    return CurationResult(
        found.rows, found.facts, found.counts, files, found.ranking, found.unmatched
    )


def _inspect(
    rows: Sequence[Row],
    regions: Mapping[str, Regions],
    kept: Mapping[str, str],
    settings: Settings,
    folder: Path,
    progress: bool,
    cache: str | Path | None,
) -> list[Facts]:
    """Return the facts of the rows that nobody has rejected.

    Of a picture that is there twice the newer row is bad: two groups with one picture may come
    into two splits.
    """
    judged = [row for row in rows if row["status"] != "reject"]
    facts = inspect_candidates(
        [Candidate(row, regions[row.id]) for row in judged],
        Extras(folder, settings.instances),
        settings.workers,
        Path(cache) if cache else None,
        progress,
    )
    facts = add_problems(facts, find_odd_ones(facts))
    if settings.leakage == "allow":
        return facts
    order = sorted(range(len(judged)), key=lambda i: (judged[i].id not in kept, i))
    groups = [f"group {judged[i]['group']}" for i in order]
    found = find_duplicates([judged[i] for i in order], [facts[i] for i in order], groups)
    return add_problems(facts, [(order[i], problem) for i, problem in found])


def _judge(
    settings: Settings,
    earlier: Earlier,
    sources: Sources,
    regions: Mapping[str, Regions],
    facts: list[Facts],
    kept: Mapping[str, str],
    progress: bool,
) -> Dataset:
    """Return the data set, with everything decided; materialised targets are written."""
    rows = sources.rows
    judged = [row for row in rows if row["status"] != "reject"]
    nearest = find_nearest(facts)
    facts = add_similarity(facts, nearest)
    by_id = {one.id: one for one in facts}
    for row in rows:
        _fill_facts(row, by_id.get(row.id), sources.regions[row.id], regions[row.id].effective())
    reject_problems(judged, facts, settings)
    warn_about_spacing(judged, by_id, settings)
    if settings.predictions:
        by_id = measure_predictions(judged, by_id, settings.predictions, progress)
    flags = apply_limits(judged, by_id, settings)
    tell_changed_images(earlier, judged, by_id)
    kept = {**kept, **splits_of_moved(earlier, rows, by_id)}
    assign_splits(rows, by_id, settings, earlier, kept)
    counts = count_rows(rows, sources.unmatched)
    ranking = rank_rows(judged, by_id, settings.limits, flags, nearest)
    keep = [row for row in rows if row["status"] == "keep"]
    output = locate(str(settings.output))
    made = materialize(keep, by_id, output) if settings.materialize else {}
    return Dataset(rows, by_id, counts, ranking, sources.unmatched, made, [])


def _tell(dataset: Dataset) -> None:
    """Say how many images went where, how many are beyond which limit, and which to look at."""
    counts = dataset.counts
    told = ", ".join(f"{counts[split]} {split}" for split in SPLITS)
    lost = f", {counts['unmatched']} unmatched" if counts["unmatched"] else ""
    log.info("%d images: %s, %d rejected%s", counts["images"], told, counts["reject"], lost)
    found = Counter(flag for row in dataset.rows for flag in row["flags"].split())
    if found:
        flags = ", ".join(f"{name} {count}" for name, count in found.most_common())
        log.info("flagged: %s; quality.csv has them, %s on top", flags, dataset.ranking[0].id)


def _extras(dataset: Dataset, output: Path, settings: Settings) -> list[Path]:
    """Write the report and the export that are asked for."""
    files = []
    if settings.report:
        files.append(write_report(output, dataset, settings.limits, settings.predictions))
        log.info("report: %s", files[-1])
    if settings.export:
        folder = output / settings.export
        keep = [row for row in dataset.rows if row["status"] == "keep"]
        result = DATASET_FORMATS[settings.export].write(folder, keep, settings.on_problem)
        for name, reason in result.left_out.items():
            log.warning("not exported: %s: %s", name, reason)
        log.info("exported to %s", folder)
        files += result.files
    return files


def _fill_facts(row: Row, facts: Facts | None, stated: Regions, final: Regions) -> None:
    """Fill in what the checks found; a row that was not looked at keeps what its sources say."""
    if facts is None:
        return
    row.values["spacing_um"] = row["spacing_um"] or format_spacing(facts.spacing_um)
    row.values["sha256"] = facts.sha256.get("raw", "")
    row.values |= facts.masks
    row.values |= regions_cells(stated.effective(), final, facts.masks)


def count_rows(rows: Sequence[Row], unmatched: Sequence[Unmatched] = ()) -> dict[str, int]:
    """Return how many rows went where, and make sure that none is lost."""
    keep = [row for row in rows if row["status"] == "keep"]
    lost = sum(one.source == "raw" for one in unmatched)
    counts = {"images": len(rows) + lost, "keep": len(keep), "unmatched": lost}
    counts["reject"] = sum(row["status"] == "reject" for row in rows)
    counts |= {split: sum(row["split"] == split for row in keep) for split in SPLITS}
    if counts["images"] != counts["keep"] + counts["reject"] + counts["unmatched"]:
        raise RuntimeError(f"rows were lost while curating: {counts}")
    if counts["keep"] != sum(counts[split] for split in SPLITS):
        raise RuntimeError(f"rows are in no split: {counts}")
    return counts
