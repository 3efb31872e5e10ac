"""Checks of one row: can its files be read, do they fit together, is there something to learn.

Curation, `cytoloop check` and training use the same checks, so they find the same problems.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cytoloop.curation.checks.annotation_metrics import annotation_metrics
from cytoloop.curation.checks.parts import bounding_box
from cytoloop.curation.checks.quality_metrics import (
    fingerprint,
    image_metrics,
    label_metrics,
    pair_metrics,
)
from cytoloop.curation.checks.result import CheckResult
from cytoloop.curation.checks.row_files import RowReader
from cytoloop.curation.region_masks import Masks, Regions, draw_masks, save_masks
from cytoloop.io.notes import collect_notes
from cytoloop.manifest import Row
from cytoloop.truth.plausible_labels import why_not_labels
from cytoloop.truth.regions import MERGE_RULES, instance_labels, merge_segmentations

_REGION_COLUMNS = ("exclude_mask", "merge_mask", "exclude", "merge")


@dataclass(frozen=True)
class CheckOptions:
    """What curation needs beyond the checks of training.

    Attributes
    ----------
    mask_folder : Path or None
        Folder of new mask images; None writes none.
    instances : bool
        Require one label per object.
    """

    mask_folder: Path | None = None
    instances: bool = False


def check_row(
    row: Row,
    channel: str | None = None,
    regions: Regions | None = None,
    options: CheckOptions | None = None,
) -> CheckResult:
    """Return what the files of a row hold and all its problems; no problem is raised.

    Parameters
    ----------
    row : Row
        With ``scene``, ``time``, ``channel``, ``channel_seg1`` and ``channel_seg2`` where its
        files have several.
    channel : str, optional
        Raw channel where the row names none.
    regions : Regions, optional
        Regions to make the masks from. Default: the row's ``exclude_mask`` and ``merge_mask``.
    options : CheckOptions, optional
        Given by curation: also compute the quality metrics and save the masks.
    """
    with collect_notes() as notes:
        result = _RowCheck(row, channel or None, regions, options).run()
    return replace(result, warnings=tuple(notes))


class _RowCheck(RowReader):
    """The checks of one row: of each file, and of all files together."""

    def __init__(
        self, row: Row, channel: str | None, regions: Regions | None, options: CheckOptions | None
    ) -> None:
        super().__init__(row, channel, regions)
        self.options = options
        self.masks: dict[str, str] = {}
        self.metrics: dict[str, float] = {}
        self.fingerprint = ""

    def run(self) -> CheckResult:
        self.locate_files()
        self.check_cells()
        self.read_raw()
        labels = {column: self.read_labels(column) for column in ("seg1", "seg2")}
        shapes = [self.shape, *(found.shape for found in labels.values() if found is not None)]
        shape = next((s for s in shapes if s), ())
        objects, foreground = self._check_target(labels, shape) if shape else (0, 0.0)
        return CheckResult(
            id=self.row.id,
            shape=self.shape or None,
            channels=0 if self.raw is None else len(self.raw),
            spacing_um=self.spacing_um,
            file_spacing_um=self.header.spacing_um if self.header else None,
            objects=objects,
            foreground=foreground,
            sha256=self.sha256,
            region_sha256=self.region_sha256,
            masks=self.masks,
            metrics=self.metrics,
            fingerprint=self.fingerprint,
            pixel_hash=self.pixel_hash,
            problems=tuple(self.problems),
        )

    def _check_target(
        self, labels: dict[str, np.ndarray | None], shape: tuple[int, ...]
    ) -> tuple[int, float]:
        """Return the number of objects, and their fraction of the voxels that are not excluded."""
        column, partner = ("seg2", "seg1") if self.row["base_image"] == "seg2" else ("seg1", "seg2")
        target, other = labels[column], labels[partner]
        masks = self._draw_masks(target, shape, (column, partner))
        self._check_plausible(labels, masks.exclude)
        voxels = int(np.prod(shape))
        if masks.exclude is not None:
            voxels -= int(np.count_nonzero(masks.exclude))
            if not voxels:
                text = "excludes the whole image; reject the image instead"
                self.add_problem("exclude_mask", text)
        if target is None or not voxels:
            return 0, 0.0
        if masks.merge is not None and other is not None:
            rule = self.row["merge_rule"] or "clip"
            target = merge_segmentations(
                target, other, masks.merge, rule if rule in MERGE_RULES else "clip"
            )
        is_plane = bool(self.row["plane"])  # a plane without objects is background, as in a stack
        if not target.any() and not is_plane:
            self.add_problem(column, "holds no object (all background); correct it or leave it out")
            return 0, 0.0
        if masks.exclude is not None:
            target = np.where(masks.exclude, 0, target)
            if not target.any() and not is_plane:
                text = "excludes every object; make it smaller, or reject the image"
                self.add_problem("exclude_mask", text)
                return 0, 0.0
        foreground = int(np.count_nonzero(target)) / voxels
        if self.options is None:
            return _count_objects(target), foreground
        return self._measure(target, column, masks.exclude), foreground

    def _check_plausible(
        self, labels: dict[str, np.ndarray | None], exclude: np.ndarray | None
    ) -> None:
        """Add a problem for each segmentation that is no label image outside excluded regions."""
        with_problem = {problem.column for problem in self.problems}
        for column, found in labels.items():
            if found is None or column in with_problem:
                continue
            if exclude is not None and exclude.shape == found.shape:
                found = np.where(exclude, 0, found)
            if reason := why_not_labels(found):
                name = self.files[column].name
                text = f"{name}: {reason}; expected labels (one number an object) or a mask"
                self.add_problem(column, f"{text}. Threshold it, and save it without compression")

    def _draw_masks(
        self, labels: np.ndarray | None, shape: tuple[int, ...], columns: tuple[str, str]
    ) -> Masks:
        regions, masks = self.regions, Masks()
        if any(problem.column in _REGION_COLUMNS for problem in self.problems):
            return masks  # a region file is missing, which is already a problem
        column = "exclude_mask" if regions.exclude else "merge_mask"
        with self.errors_as_problems(column, " and ".join(Path(f).name for f in regions.files)):
            masks = draw_masks(regions, self.raw, labels, shape, self.spacing_um, self.row.plane)
            masks = masks.excluding(self._unlabelled_voxels(columns, masks.merge))
            if masks.overlap:
                text = f"{masks.overlap} voxels are in both a merging and an excluding region"
                self.add_problem("merge_mask", f"{text}; draw the regions apart")
            elif self.options is not None:
                self.masks = save_masks(regions, masks, self.row.id, self.options.mask_folder)
        return masks

    def _unlabelled_voxels(
        self, columns: tuple[str, str], merge: np.ndarray | None
    ) -> np.ndarray | None:
        """Return the voxels of the target with an ignore value; None without any."""
        base, other = (self.unlabelled.get(column) for column in columns)
        if merge is None or (base is None and other is None):
            return base
        return np.where(merge, False if other is None else other, False if base is None else base)

    def _measure(self, target: np.ndarray, column: str, exclude: np.ndarray | None) -> int:
        """Compute the quality metrics; return the number of objects."""
        foreground = np.count_nonzero(target) / _count_used(target, exclude)
        raw_is_bad = any(problem.column == "raw" for problem in self.problems)
        if not foreground:
            self.metrics = {"objects": 0.0, "foreground": 0.0}
            if self.raw is not None and not raw_is_bad:
                self.metrics |= image_metrics(self.raw)
            return 0
        found = label_metrics(target)
        is_binary = found["labels"] == 1 and found["pieces"] > 1
        objects = int(found["pieces"] if is_binary else found["labels"])
        if self.options and self.options.instances and is_binary:
            text = f"one label covers {objects} separate pieces, but instances=true needs one label"
            self.add_problem(column, f"{text} per object; give an instance segmentation")
        if is_binary:
            found["split_labels"] = 0.0  # the single label of a mask is not a split object
        if self.row["plane"]:
            found["label_gaps"] = 0.0  # the other numbers are in other planes
        self.metrics = {"objects": float(objects), "foreground": foreground}
        self.metrics |= {name: value for name, value in found.items() if name != "labels"}
        if self.raw is not None and not raw_is_bad and self.raw.shape[1:] == target.shape:
            self.metrics |= image_metrics(self.raw) | pair_metrics(self.raw, target)
            self.metrics |= annotation_metrics(self.raw, target, exclude)
            # parts of one image are compared by what they show
            box = (slice(None),) if exclude is None else (slice(None), *bounding_box(~exclude))
            self.fingerprint = fingerprint(self.raw[box])
        return objects


def _count_used(target: np.ndarray, exclude: np.ndarray | None) -> int:
    """Return the number of voxels that are not excluded."""
    return target.size - (0 if exclude is None else int(np.count_nonzero(exclude)))


def _count_objects(labels: np.ndarray) -> int:
    """Return the number of labels above 0; with a single label, of its connected pieces."""
    import fastremap

    return int(np.count_nonzero(fastremap.unique(instance_labels(labels))))
