"""`cytoloop annotate`: images to an annotation tool, cut into crops, and labels back."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from cytoloop.curation.crops.collect import UNSEEN, collect_crops, collect_pictures
from cytoloop.curation.crops.crops_table import PROJECT, TABLE
from cytoloop.curation.crops.cut import cut_images, rows_to_annotate
from cytoloop.curation.crops.folder import output_problems
from cytoloop.curation.exchange.registry import MODULES, format_named, format_of
from cytoloop.errors import ConfigError

log = logging.getLogger(__name__)


def run(cfg: Any) -> None:
    """Cut (``data.path=``) or paste (``project=``)."""
    _check(cfg)
    if cfg.project is None:
        _cut(cfg)
    else:
        _paste(cfg)


def _check(cfg: Any) -> None:
    """Refuse settings that cannot be, all at once."""
    sources = [source for source in (cfg.project, cfg.data.path) if source is not None]
    problems = []
    if len(sources) != 1:
        problems.append("give either data.path= (to cut images) or project= (to paste a project)")
    for source in sources:
        if not Path(str(source)).expanduser().exists():
            problems.append(f"{source}: no such file or folder")
    if cfg.format is not None and cfg.format not in MODULES:
        problems.append(f"format={cfg.format} is unknown: one of {', '.join(MODULES)}")
    for name in ("objects", "min_size"):
        if not isinstance(cfg[name], int) or isinstance(cfg[name], bool) or cfg[name] < 1:
            problems.append(f"{name}={cfg[name]}, expected a whole number from 1")
    if cfg.split not in (None, "train", "valid", "test"):
        problems.append(f"split={cfg.split}, expected train, valid or test")
    if cfg.unfinished not in ("keep", "exclude"):
        problems.append(f"unfinished={cfg.unfinished}, expected keep or exclude")
    for name in ("unseen", "all_done"):
        if not isinstance(cfg[name], bool):
            problems.append(f"{name}={cfg[name]}, expected true or false")
    found = [problem for source in sources for problem in output_problems(cfg.output, source)]
    problems += dict.fromkeys(found)
    if problems:
        raise ConfigError("cytoloop annotate", problems, "See `cytoloop annotate --help`.")


def _cut(cfg: Any) -> None:
    form = format_named(cfg.format or "supervisely")
    rows = rows_to_annotate(cfg.data.path, cfg.split)
    cut = cut_images(rows, cfg.output, form, cfg.objects, cfg.min_size, cfg.title or "object")
    pictures = sum(len(image.shots) for image in cut)
    log.info("cut %d image(s) into %d picture(s): %s", len(cut), pictures, cfg.output)
    log.info("next, when annotated: cytoloop annotate project=%s output=labels/", cfg.output)


def _paste(cfg: Any) -> None:
    folder = Path(str(cfg.project)).expanduser()
    ours = (folder / TABLE).is_file()
    project = folder / PROJECT if ours else folder
    form = format_named(cfg.format) if cfg.format else format_of(project)
    if ours:
        leave_out = cfg.unfinished == "exclude"
        found = collect_crops(
            folder, project, cfg.output, form, leave_out, cfg.unseen, cfg.all_done, cfg.title
        )
    else:
        found = collect_pictures(project, cfg.output, form, cfg.title)
    log.info("%d of %d picture(s) are done", found.done, found.pictures)
    log.info("wrote %d label image(s): %s", found.images, cfg.output)
    extra = f" exclude={Path(cfg.output) / UNSEEN}" if ours and cfg.unseen else ""
    log.info("next: cytoloop curate raw=images/ seg1=%s%s output=dataset/", cfg.output, extra)
