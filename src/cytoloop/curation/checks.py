"""Checks of one manifest row: can it be read, do its files fit, is there something to learn.

They work on `cytoloop.manifest.Row` alone, so that curation, `cytoloop check` and the
preflight of training find the same faults.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from cytoloop.curation.facts import Facts, Problem, count_objects, pixel_hash, spacings_differ
from cytoloop.digest import file_hash
from cytoloop.errors import CytoloopError, ManifestError
from cytoloop.images import Header, Spacing, read_header, read_image, read_labels
from cytoloop.manifest import FILE_COLUMNS, Row
from cytoloop.regions import merge_segmentations, read_region


def check_row(row: Row, channel: str | None = None) -> Facts:
    """Return what is in the files of a row and all that is wrong with them; it never raises.

    Parameters
    ----------
    row : Row
        With ``scene``, ``time``, ``channel``, ``channel_seg1`` and ``channel_seg2`` where its
        files hold several.
    channel : str, optional
        Raw channel where the row names none.
    """
    return _Check(row, channel or None).run()


class _Check:
    """The checks of one row: they share its files and collect its problems."""

    def __init__(self, row: Row, channel: str | None) -> None:
        self.row = row
        self.channel = row["channel"] or channel
        self.problems: list[Problem] = []
        self.files: dict[str, Path] = {}
        self.sha256: dict[str, str] = {}
        self.pixels = ""
        self.scene = row["scene"] or None
        self.time = 0
        self.spacing_um: Spacing | None = None  # as the row states it
        self.header: Header | None = None
        self.shape: tuple[int, ...] = ()

    def run(self) -> Facts:
        self._find_files()
        self._check_cells()
        channels = self._check_raw()
        labels = {column: self._read_labels(column) for column in ("seg1", "seg2")}
        shapes = [self.shape, *(found.shape for found in labels.values() if found is not None)]
        shape = next((s for s in shapes if s), ())
        objects, foreground = self._check_target(labels, shape) if shape else (0, 0.0)
        file_spacing = self.header.spacing_um if self.header else None
        return Facts(
            id=self.row.id,
            shape=self.shape or None,
            channels=channels,
            spacing_um=self.spacing_um or file_spacing,
            file_spacing_um=file_spacing,
            objects=objects,
            foreground=foreground,
            sha256=self.sha256,
            pixels=self.pixels,
            problems=tuple(self.problems),
        )

    def _add(self, column: str, text: str) -> None:
        self.problems.append(Problem(column, text))

    @contextmanager
    def _reading(self, column: str) -> Iterator[None]:
        """Turn what is raised while a file is read into a problem of its column."""
        name = Path(self.row[column]).name
        try:
            yield
        except CytoloopError as error:
            self._add(column, f"{name}: {'; '.join(error.problems)}. {error.repair}".strip())
        except Exception as error:  # a file can be anything, and its reader raise anything
            self._add(column, f"{name}: cannot be read: {type(error).__name__}: {error}"[:200])

    def _find_files(self) -> None:
        for column in FILE_COLUMNS:
            path = self.row.file(column)
            if path is None:
                if column in ("raw", "seg1"):
                    self._add(column, "is empty; name a file")
            elif not path.exists():
                self._add(column, f"file not found: {self.row[column]}")
            else:
                with self._reading(column):
                    self.sha256[column] = file_hash(path)
                    self.files[column] = path

    def _check_cells(self) -> None:
        row = self.row
        try:
            self.spacing_um = row.spacing_um
        except ManifestError as error:
            self._add("spacing_um", f"{error.problems[0]}. {error.repair}")
        if row["time"].isdigit():
            self.time = int(row["time"])
        elif row["time"]:
            self._add("time", f"{row['time']!r} is no time point; expected 0, 1, 2 ...")
        if row["base_image"] not in ("", "seg1", "seg2"):
            self._add("base_image", f"{row['base_image']!r}; expected seg1 or seg2")
        if not row["seg2"] and (row["merge_mask"] or row["base_image"] == "seg2"):
            self._add("seg2", "is empty, but merging needs it")
        same = row["raw"] and row.file("raw") == row.file("seg1")
        if same and row["channel_seg1"] in ("", row["channel"]):
            self._add("seg1", "is the raw image itself; name another file, or its label channel")
        if row["sha256"] and self.sha256.get("raw", row["sha256"]) != row["sha256"]:
            self._add("raw", "the file has changed since it was curated (sha256); curate again")

    def _check_raw(self) -> int:
        """Read the raw image; return the number of its channels that are used."""
        if "raw" not in self.files:
            return 0
        with self._reading("raw"):
            self.header = read_header(self.files["raw"], self.scene)
            self._check_choice("raw", self.header)
            pixels = read_image(self.files["raw"], self.channel, self.scene, self.time).data
            self.shape = pixels.shape[1:]
            self.pixels = pixel_hash(pixels)
            sizes = self.row["spacing_um"].replace(",", " ").replace(";", " ").split()
            if len(sizes) == 2 and len(self.shape) == 3:
                self._add("spacing_um", "has two numbers but the image is a stack; give z y x")
            self._check_intensities(pixels)
            return len(pixels)
        return 0

    def _check_choice(self, column: str, header: Header) -> None:
        """Refuse to take the first of several scenes or time points without being asked."""
        if self.scene is None and len(header.scenes) > 1:
            listing = ", ".join(header.scenes)
            self._add(column, f"the file holds scenes {listing}; name one in column 'scene'")
        if not self.row["time"] and header.shape[0] > 1:
            hint = " (or is z saved as time?)" if header.shape[2] == 1 else ""
            count = header.shape[0]
            self._add(column, f"the file holds {count} time points; name one in 'time'{hint}")

    def _check_intensities(self, pixels: np.ndarray) -> None:
        if pixels.dtype.kind in "fc":
            bad = pixels.size - np.count_nonzero(np.isfinite(pixels))
            if bad:
                self._add("raw", f"holds {bad} values that are NaN or infinite; export it again")
                return
        # one dark channel of several (an RGB export) is no fault, an image without signal is
        if all(plane.min() == plane.max() for plane in pixels):
            self._add("raw", f"is constant: {pixels.flat[0]} everywhere; leave it out")

    def _read_labels(self, column: str) -> np.ndarray | None:
        """Return labels that fit the raw image, None where there are none or a problem."""
        if column not in self.files:
            return None
        path, before = self.files[column], len(self.problems)
        with self._reading(column):
            channel = self.row[f"channel_{column}"] or None
            header = read_header(path)
            scene, time = None, 0  # a file of one scene and time point is that of the row
            if len(header.scenes) > 1 or header.shape[0] > 1:
                scene, time = self.scene, self.time
                header = read_header(path, scene)
                self._check_choice(column, header)
            if channel is None and header.shape[1] > 1:
                listing = ", ".join(f"{i}: {name}" for i, name in enumerate(header.channels))
                self._add(column, f"has channels {listing}; name one in column 'channel_{column}'")
            labels = read_labels(path, channel, scene, time)
            if self.shape and labels.shape != self.shape:
                self._add(column, f"shape {labels.shape} but raw is {self.shape}")
            elif self.shape:
                self._check_spacing(column, header)
            return labels if len(self.problems) == before else None
        return None

    def _check_spacing(self, column: str, header: Header) -> None:
        """Compare what the two files state, unless the row itself has settled it."""
        raw, own = self.header.spacing_um if self.header else None, header.spacing_um
        if (
            raw
            and own
            and not self.row["spacing_um"]
            and spacings_differ(raw, own, len(self.shape))
        ):
            sizes = [" x ".join(f"{size:g}" for size in spacing) for spacing in (own, raw)]
            text = f"voxel size (z x y x x) {sizes[0]} um but raw states {sizes[1]}"
            self._add(column, f"{text}; state the right one (spacing_um)")

    def _check_target(
        self, labels: dict[str, np.ndarray | None], shape: tuple[int, ...]
    ) -> tuple[int, float]:
        """Return the number of objects and their share of what may be learned from."""
        column, partner = ("seg2", "seg1") if self.row["base_image"] == "seg2" else ("seg1", "seg2")
        target, other = labels[column], labels[partner]
        merged = self._read_region("merge_mask", shape)
        excluded = self._read_region("exclude_mask", shape)
        voxels = int(np.prod(shape))
        if excluded is not None:
            voxels -= int(np.count_nonzero(excluded))
            if not voxels:
                self._add("exclude_mask", "excludes the whole image; reject the image instead")
        if target is None or not voxels:
            return 0, 0.0
        if merged is not None and other is not None:
            target = merge_segmentations(target, other, merged)
        if not target.any():
            self._add(column, "holds no object (all background); correct it or leave it out")
            return 0, 0.0
        if excluded is not None:
            target = np.where(excluded, 0, target)
            if not target.any():
                self._add("exclude_mask", "excludes every object; nothing is left to learn")
        return count_objects(target), int(np.count_nonzero(target)) / voxels

    def _read_region(self, column: str, shape: tuple[int, ...]) -> np.ndarray | None:
        if column in self.files:
            with self._reading(column):
                return read_region(self.files[column], shape)
        return None
