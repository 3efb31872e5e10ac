"""The files of one manifest row, read and checked one by one.

A reader of a row collects every problem that it meets, and raises none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from cytoloop.curation.checks.facts import Problem, pixel_hash, spacings_differ
from cytoloop.curation.region_masks import Regions
from cytoloop.errors import CytoloopError, ManifestError
from cytoloop.io.digest import file_hash
from cytoloop.io.labels import read_labels
from cytoloop.io.names import path_in_url
from cytoloop.io.read import Header, read_header, read_image
from cytoloop.io.remote import local_path
from cytoloop.io.voxel_size import Spacing
from cytoloop.manifest import FILE_COLUMNS, Row
from cytoloop.redact import redact_url
from cytoloop.truth.regions import MERGE_RULES, is_rule


class RowReader:
    """Reads what a row names, and notes what is wrong with each file and cell.

    Parameters
    ----------
    row : Row
    channel : str or None
        Raw channel where the row names none.
    regions : Regions or None
        What the masks are made from; None: the row's own masks.
    """

    def __init__(self, row: Row, channel: str | None, regions: Regions | None) -> None:
        self.row = row
        self.channel = row["channel"] or channel
        self.own_masks = regions is None
        self.regions = (regions or _stated(row)).effective()
        self.problems: list[Problem] = []
        self.files: dict[str, Path] = {}
        self.sha256: dict[str, str] = {}
        self.parts: dict[str, str] = {}
        self.pixels = ""
        self.raw: np.ndarray | None = None
        self.spacing_um: Spacing | None = None  # as the row states it
        self.header: Header | None = None
        self.shape: tuple[int, ...] = ()

    @property
    def voxel_um(self) -> Spacing | None:
        """Voxel size (Z, Y, X): the row's own, else the raw file's."""
        return self.spacing_um or (self.header.spacing_um if self.header else None)

    def add(self, column: str, text: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(column, text))

    @contextmanager
    def reading(self, column: str, file: str = "") -> Iterator[None]:
        """Turn what is raised while a file is read into a problem of its column."""
        name = Path(path_in_url(file or self.row[column])).name
        try:
            yield
        except CytoloopError as error:
            self.add(column, f"{name}: {'; '.join(error.problems)}. {error.repair}".strip())
        except Exception as error:  # a file can be anything, and its reader raise anything
            self.add(column, f"{name}: cannot be read: {type(error).__name__}: {error}"[:200])

    def find_files(self) -> None:
        """Find and hash the files that the row names."""
        columns = FILE_COLUMNS if self.own_masks else ("raw", "seg1", "seg2")
        for column in columns:
            with self.reading(column):
                path = self.row.file(column)
                if path is None:
                    if column in ("raw", "seg1"):
                        self.add(column, "is empty; name a file")
                elif not path.exists():
                    self.add(column, f"file not found: {redact_url(self.row[column])}")
                else:
                    self.sha256[column] = file_hash(path)
                    self.files[column] = path
        if self.own_masks:
            return
        for column, parts in (("exclude", self.regions.exclude), ("merge", self.regions.merge)):
            for part in parts:
                if is_rule(part):
                    continue
                with self.reading(column, part):
                    path = local_path(part)
                    if path.exists():
                        self.parts[part] = file_hash(path)
                    else:
                        self.add(column, f"file not found: {redact_url(part)}")

    def check_cells(self) -> None:
        """Check the cells that are no files."""
        row = self.row
        try:
            self.spacing_um = row.spacing_um
        except ManifestError as error:
            self.add("spacing_um", f"{error.problems[0]}. {error.repair}")
        for column in ("time", "time_seg1", "time_seg2"):
            if row[column] and not row[column].isdigit():
                self.add(column, f"{row[column]!r} is no time point; expected 0, 1, 2 ...")
        if row["base_image"] not in ("", "seg1", "seg2"):
            self.add("base_image", f"{row['base_image']!r}; expected seg1 or seg2")
        if row["merge_rule"] not in ("", *MERGE_RULES):
            expected = " or ".join(MERGE_RULES)
            self.add("merge_rule", f"{row['merge_rule']!r}; expected {expected}")
        if not row["seg2"] and (self.regions.merge or row["base_image"] == "seg2"):
            self.add("seg2", "is empty, but merging needs it")
        if self._is_own_segmentation():
            self.add("seg1", "is the raw image itself; name another file, or its label channel")
        if row["sha256"] and self.sha256.get("raw", row["sha256"]) != row["sha256"]:
            self.add("raw", "the file has changed since it was curated (sha256); curate again")

    def _is_own_segmentation(self) -> bool:
        row = self.row
        same = row["raw"] and row.location("raw") == row.location("seg1")
        other_channel = row["channel_seg1"] not in ("", row["channel"])
        other_scene = row["scene_seg1"] not in ("", row["scene"])
        return bool(same and not other_channel and not other_scene)

    def read_raw(self) -> None:
        """Read the raw image, if it can be used."""
        if "raw" not in self.files:
            return
        with self.reading("raw"):
            scene = self.row["scene"] or None
            self.header = read_header(self.files["raw"], scene)
            self._check_choice("raw", self.header, scene, self.row["time"])
            time = self._time("time")
            pixels = read_image(self.files["raw"], self.channel, scene, time).data
            self.shape = pixels.shape[1:]
            self.pixels = pixel_hash(pixels)
            sizes = self.row["spacing_um"].replace(",", " ").replace(";", " ").split()
            if len(sizes) == 2 and len(self.shape) == 3:
                self.add("spacing_um", "has two numbers but the image is a stack; give z y x")
            self._check_intensities(pixels)
            self.raw = pixels

    def _time(self, column: str) -> int:
        return int(self.row[column]) if self.row[column].isdigit() else 0

    def _check_choice(self, column: str, header: Header, scene: str | None, time: str) -> None:
        """Refuse to take the first of several scenes or time points without being asked."""
        if scene is None and len(header.scenes) > 1:
            listing = ", ".join(header.scenes)
            self.add(column, f"the file holds scenes {listing}; name one in column 'scene'")
        if not time and header.shape[0] > 1:
            hint = " (or is z saved as time?)" if header.shape[2] == 1 else ""
            count = header.shape[0]
            self.add(column, f"the file holds {count} time points; name one in 'time'{hint}")

    def _check_intensities(self, pixels: np.ndarray) -> None:
        if pixels.dtype.kind in "fc":
            bad = pixels.size - np.count_nonzero(np.isfinite(pixels))
            if bad:
                self.add("raw", f"holds {bad} values that are NaN or infinite; export it again")
                return
        # one dark channel of several (an RGB export) is no fault, an image without signal is
        if all(plane.min() == plane.max() for plane in pixels):
            self.add("raw", f"is constant: {pixels.flat[0]} everywhere; leave it out")

    def read_labels(self, column: str) -> np.ndarray | None:
        """Return labels that fit the raw image, None where there are none or a problem."""
        if column not in self.files:
            return None
        path, before = self.files[column], len(self.problems)
        with self.reading(column):
            channel = self.row[f"channel_{column}"] or None
            scene, time = self.row[f"scene_{column}"] or None, 0
            header = read_header(path, scene)
            # a file of one scene and time point is that of the row
            if scene or len(header.scenes) > 1 or header.shape[0] > 1:
                scene = self.row.segmentation_scene(column)
                named = f"time_{column}" if self.row[f"time_{column}"] else "time"
                time = self._time(named)
                header = read_header(path, scene)
                self._check_choice(column, header, scene, self.row[named])
            if channel is None and header.shape[1] > 1:
                listing = ", ".join(f"{i}: {name}" for i, name in enumerate(header.channels))
                self.add(column, f"has channels {listing}; name one in column 'channel_{column}'")
            labels = read_labels(path, channel, scene, time)
            if self.shape and labels.shape != self.shape:
                self.add(column, f"shape {labels.shape} but raw is {self.shape}")
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
            self.add(column, f"{text}; state the right one (spacing_um)")


def _stated(row: Row) -> Regions:
    """Return the masks that a manifest names."""
    exclude, merge = (row.location(column) for column in ("exclude_mask", "merge_mask"))
    return Regions((exclude,) if exclude else (), (merge,) if merge else ())
