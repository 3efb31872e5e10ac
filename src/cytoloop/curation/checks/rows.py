"""Checks of one manifest row: can it be read, do its files fit, is there something to learn.

They work on `cytoloop.manifest.Row` alone, so that curation, `cytoloop check` and the
preflight of training find the same faults.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cytoloop.curation.checks.facts import Facts, count_objects
from cytoloop.curation.checks.files import RowReader
from cytoloop.curation.checks.image_statistics import (
    image_figures,
    label_figures,
    pair_figures,
    signature,
)
from cytoloop.curation.region_masks import Masks, Regions, draw_masks, keep_masks
from cytoloop.manifest import Row
from cytoloop.truth.regions import MERGE_RULES, merge_segmentations

_MASKS = ("exclude_mask", "merge_mask", "exclude", "merge")


@dataclass(frozen=True)
class Extras:
    """What curation asks of a row beyond whether it can be trained on.

    Attributes
    ----------
    folder : Path or None
        Where masks that no file holds are written.
    instances : bool
        Objects must be told apart.
    """

    folder: Path | None = None
    instances: bool = False


def check_row(
    row: Row,
    channel: str | None = None,
    regions: Regions | None = None,
    extras: Extras | None = None,
) -> Facts:
    """Return what is in the files of a row and all that is wrong with them; it never raises.

    Parameters
    ----------
    row : Row
        With ``scene``, ``time``, ``channel``, ``channel_seg1`` and ``channel_seg2`` where its
        files hold several.
    channel : str, optional
        Raw channel where the row names none.
    regions : Regions, optional
        What the masks are to be made from; default the row's ``exclude_mask`` and
        ``merge_mask``.
    extras : Extras, optional
        Also compute the quality figures, and what else is asked for.
    """
    return _Check(row, channel or None, regions, extras).run()


class _Check(RowReader):
    """The checks of one row: its files, and what they come to together."""

    def __init__(
        self, row: Row, channel: str | None, regions: Regions | None, extras: Extras | None
    ) -> None:
        super().__init__(row, channel, regions)
        self.extras = extras
        self.masks: dict[str, str] = {}
        self.figures: dict[str, float] = {}
        self.signature = ""

    def run(self) -> Facts:
        self.find_files()
        self.check_cells()
        self.read_raw()
        labels = {column: self.read_labels(column) for column in ("seg1", "seg2")}
        shapes = [self.shape, *(found.shape for found in labels.values() if found is not None)]
        shape = next((s for s in shapes if s), ())
        objects, foreground = self._check_target(labels, shape) if shape else (0, 0.0)
        file_spacing = self.header.spacing_um if self.header else None
        return Facts(
            id=self.row.id,
            shape=self.shape or None,
            channels=0 if self.raw is None else len(self.raw),
            spacing_um=self.voxel_um,
            file_spacing_um=file_spacing,
            objects=objects,
            foreground=foreground,
            sha256=self.sha256,
            parts=self.parts,
            masks=self.masks,
            figures=self.figures,
            signature=self.signature,
            pixels=self.pixels,
            problems=tuple(self.problems),
        )

    def _check_target(
        self, labels: dict[str, np.ndarray | None], shape: tuple[int, ...]
    ) -> tuple[int, float]:
        """Return the number of objects and their share of what may be learned from."""
        column, partner = ("seg2", "seg1") if self.row["base_image"] == "seg2" else ("seg1", "seg2")
        target, other = labels[column], labels[partner]
        masks = self._draw_masks(target, shape)
        voxels = int(np.prod(shape))
        if masks.exclude is not None:
            voxels -= int(np.count_nonzero(masks.exclude))
            if not voxels:
                self.add("exclude_mask", "excludes the whole image; reject the image instead")
        if target is None or not voxels:
            return 0, 0.0
        if masks.merge is not None and other is not None:
            rule = self.row["merge_rule"] or "clip"
            target = merge_segmentations(
                target, other, masks.merge, rule if rule in MERGE_RULES else "clip"
            )
        if not target.any():
            self.add(column, "holds no object (all background); correct it or leave it out")
            return 0, 0.0
        if masks.exclude is not None:
            target = np.where(masks.exclude, 0, target)
            if not target.any():
                self.add("exclude_mask", "excludes every object; nothing is left to learn")
                return 0, 0.0
        foreground = int(np.count_nonzero(target)) / voxels
        if self.extras is None:
            return count_objects(target), foreground
        return self._measure(target, column, foreground), foreground

    def _draw_masks(self, labels: np.ndarray | None, shape: tuple[int, ...]) -> Masks:
        regions, masks = self.regions, Masks()
        if any(problem.column in _MASKS for problem in self.problems):
            return masks  # a file is missing, and told
        column = "exclude_mask" if regions.exclude else "merge_mask"
        with self.reading(column, " and ".join(Path(file).name for file in regions.files)):
            masks = draw_masks(regions, self.raw, labels, shape, self.voxel_um)
            if masks.overlap:
                told = f"{masks.overlap} voxels are in regions both to merge and to exclude"
                self.add("merge_mask", f"{told}; draw them apart")
            elif self.extras is not None:
                self.masks = keep_masks(regions, masks, self.row.id, self.extras.folder)
        return masks

    def _measure(self, target: np.ndarray, column: str, foreground: float) -> int:
        """Compute the quality figures of a row whose files can be used; return its objects."""
        found = label_figures(target)
        binary = found["labels"] == 1 and found["pieces"] > 1
        objects = int(found["pieces"] if binary else found["labels"])
        if self.extras and self.extras.instances and binary:
            self.add(
                column,
                f"one label lies in {objects} pieces: its objects cannot be told apart; "
                "give a segmentation with a label for each object",
            )
        if binary:
            found["split_labels"] = 0.0  # a mask is no faulty instance
        self.figures = {"objects": float(objects), "foreground": foreground}
        self.figures |= {name: value for name, value in found.items() if name != "labels"}
        raw_is_bad = any(problem.column == "raw" for problem in self.problems)
        if self.raw is not None and not raw_is_bad and self.raw.shape[1:] == target.shape:
            self.figures |= image_figures(self.raw) | pair_figures(self.raw, target)
            self.signature = signature(self.raw)
        return objects
