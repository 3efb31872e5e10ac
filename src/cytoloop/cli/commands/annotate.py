"""`cytoloop annotate`: cut images for an annotation tool, and collect the annotated project."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path
from typing import Any

from cytoloop.curation.crops.collect import (
    UNSEEN,
    CollectSettings,
    collect_crops,
    collect_pictures,
)
from cytoloop.curation.crops.crops_table import TABLE
from cytoloop.curation.crops.cut import PROJECT, CutSettings, cut_images, rows_to_annotate
from cytoloop.curation.crops.output import output_problems
from cytoloop.curation.exchange.registry import ANNOTATION_FORMATS, AnnotationFormat, find_format
from cytoloop.errors import ConfigError, ImageError
from cytoloop.home import expand_home

log = logging.getLogger(__name__)


def run(cfg: Any) -> None:
    """Cut images (``data.path=``), or collect a project (``project=``)."""
    _check(cfg)
    if cfg.project is None:
        _cut(cfg)
    else:
        _collect(cfg)


def _check(cfg: Any) -> None:
    """Raise ConfigError with all invalid settings."""
    sources = [source for source in (cfg.project, cfg.data.path) if source is not None]
    problems = []
    if len(sources) != 1:
        problems.append("give either data.path= (to cut images) or project= (to collect a project)")
    for source in sources:
        if not expand_home(str(source)).exists():
            problems.append(f"{source}: no such file or folder")
    if cfg.format is not None and cfg.format not in ANNOTATION_FORMATS:
        problems.append(f"format={cfg.format}, expected {' or '.join(ANNOTATION_FORMATS)}")
    for name in ("objects_per_crop", "min_crop_size"):
        if not isinstance(cfg[name], int) or isinstance(cfg[name], bool) or cfg[name] < 1:
            problems.append(f"{name}={cfg[name]}, expected a whole number from 1")
    if cfg.split not in (None, "train", "valid", "test"):
        problems.append(f"split={cfg.split}, expected train, valid or test")
    if cfg.unfinished not in ("keep", "exclude"):
        problems.append(f"unfinished={cfg.unfinished}, expected keep or exclude")
    for name in ("unseen_masks", "all_finished", "overwrite"):
        if not isinstance(cfg[name], bool):
            problems.append(f"{name}={cfg[name]}, expected true or false")
    overwrite = cfg.overwrite is True
    found = [one for source in sources for one in output_problems(cfg.output, source, overwrite)]
    problems += dict.fromkeys(found)
    if problems:
        raise ConfigError("cytoloop annotate", problems, "See `cytoloop annotate --help`.")


def _cut(cfg: Any) -> None:
    form = ANNOTATION_FORMATS[cfg.format or "supervisely"]
    rows = rows_to_annotate(cfg.data.path, cfg.split)
    settings = CutSettings(
        cfg.objects_per_crop, cfg.min_crop_size, cfg.title or "object", cfg.overwrite
    )
    cut = cut_images(rows, cfg.output, form, settings)
    pictures = sum(len(image.planes) for image in cut)
    log.info("cut %d image(s) into %d picture(s): %s", len(cut), pictures, cfg.output)
    project = f"project={shlex.quote(str(cfg.output))}"
    log.info("next, when annotated: cytoloop annotate %s output=labels/", project)


def _collect(cfg: Any) -> None:
    folder = expand_home(str(cfg.project))
    was_cut = (folder / TABLE).is_file()
    project = folder / PROJECT if was_cut else folder
    form = ANNOTATION_FORMATS[cfg.format] if cfg.format else _detect_format(project)
    settings = CollectSettings(
        cfg.unfinished == "exclude", cfg.unseen_masks, cfg.all_finished, cfg.title, cfg.overwrite
    )
    if was_cut:
        found = collect_crops(folder, project, cfg.output, form, settings)
    else:
        found = collect_pictures(project, cfg.output, form, settings)
    log.info("%d of %d picture(s) are done", found.done, found.pictures)
    log.info("wrote %d label image(s): %s", found.images, cfg.output)
    sources = [f"seg1={cfg.output}"]
    sources += [f"exclude={Path(cfg.output) / UNSEEN}"] if was_cut and cfg.unseen_masks else []
    log.info("next: cytoloop curate raw=images/ %s output=dataset/", shlex.join(sources))


def _detect_format(project: Path) -> AnnotationFormat:
    if found := find_format(ANNOTATION_FORMATS, project):
        return found
    raise ImageError(
        str(project),
        f"is not a project of a known format: {', '.join(ANNOTATION_FORMATS)}",
        "Name the folder of the project, and its format with format=.",
    )
