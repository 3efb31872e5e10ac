"""Reads the files of one row and checks each file and cell.

A `RowReader` collects all problems of its row and raises none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from cytoloop.curation.checks.result import FILE_NOT_FOUND, IS_CONSTANT, Problem, spacings_differ
from cytoloop.curation.region_masks import Regions
from cytoloop.errors import CytoloopError, ManifestError
from cytoloop.io.digest import file_hash
from cytoloop.io.labels import as_labels
from cytoloop.io.multi_file import image_exists
from cytoloop.io.names import path_in_url
from cytoloop.io.read import Header, read_header, read_image, read_plane_or_stack
from cytoloop.io.remote import local_path
from cytoloop.io.voxel_size import Spacing
from cytoloop.manifest import FILE_COLUMNS, Row, part_of, stated_axes
from cytoloop.redact import redact_url
from cytoloop.truth.regions import MERGE_RULES, is_rule


class RowReader:
    """Reads the files of a row and collects the problems of each file and cell.

    Parameters
    ----------
    row : Row
    channel : str or None
        Raw channel where the row names none.
    regions : Regions or None
        Regions that the masks are made from. None: the masks that the row names.
    """

    def __init__(self, row: Row, channel: str | None, regions: Regions | None) -> None:
        self.row = row
        self.channel = row["channel"] or channel
        self.has_final_masks = regions is None
        self.regions = (regions or _masks_of_row(row)).effective()
        self.problems: list[Problem] = []
        self.files: dict[str, Path] = {}
        self.sha256: dict[str, str] = {}
        self.region_sha256: dict[str, str] = {}
        self.pixel_hash = ""
        self.raw: np.ndarray | None = None
        self.row_spacing_um: Spacing | None = None
        self.header: Header | None = None
        self.shape: tuple[int, ...] = ()
        self.ignore: tuple[int, ...] = ()
        self.unlabelled: dict[str, np.ndarray] = {}

    @property
    def spacing_um(self) -> Spacing | None:
        """Voxel size (Z, Y, X) in um: from the row, else from the raw file."""
        return self.row_spacing_um or (self.header.spacing_um if self.header else None)

    def add_problem(self, column: str, text: str) -> None:
        """Add a problem of a column."""
        self.problems.append(Problem(column, text))

    @contextmanager
    def errors_as_problems(self, column: str, file: str = "") -> Iterator[None]:
        """Turn an error that is raised while a file is read into a problem of its column."""
        name = Path(path_in_url(file or self.row[column])).name
        try:
            yield
        except CytoloopError as error:
            self.add_problem(column, f"{name}: {'; '.join(error.problems)}. {error.repair}".strip())
        except Exception as error:  # readers of damaged files raise any error
            text = f"{name}: cannot be read: {type(error).__name__}: {error}"
            self.add_problem(column, text[:200])

    def locate_files(self) -> None:
        """Find and hash the files that the row names."""
        columns = FILE_COLUMNS if self.has_final_masks else ("raw", "seg1", "seg2")
        for column in columns:
            with self.errors_as_problems(column):
                path = self.row.file(column)
                if path is None:
                    if column in ("raw", "seg1"):
                        self.add_problem(column, "is empty; name a file")
                elif not image_exists(path):
                    self.add_problem(column, f"{FILE_NOT_FOUND}: {redact_url(self.row[column])}")
                else:
                    self.sha256[column] = file_hash(path)
                    self.files[column] = path
        if not self.has_final_masks:
            self._locate_regions()

    def _locate_regions(self) -> None:
        for column, parts in (("exclude", self.regions.exclude), ("merge", self.regions.merge)):
            for part in parts:
                if is_rule(part):
                    continue
                with self.errors_as_problems(column, part):
                    path = local_path(part)
                    if path.exists():
                        self.region_sha256[part] = file_hash(path)
                    else:
                        self.add_problem(column, f"{FILE_NOT_FOUND}: {redact_url(part)}")

    def check_cells(self) -> None:
        """Check the cells that do not name a file."""
        row = self.row
        try:
            self.row_spacing_um = row.spacing_um
        except ManifestError as error:
            self.add_problem("spacing_um", f"{error.problems[0]}. {error.repair}")
        try:
            self.ignore = row.ignore_labels
        except ManifestError as error:
            self.add_problem("ignore_label", f"{error.problems[0]}. {error.repair}")
        for column in ("time", "time_seg1", "time_seg2"):
            if row[column] and not row[column].isdigit():
                text = f"{row[column]!r} is not a time point; expected 0, 1, 2 ..."
                self.add_problem(column, text)
        with self.errors_as_problems("plane"):
            _ = row.plane  # raises where it is no number
        if row["base_image"] not in ("", "seg1", "seg2"):
            self.add_problem("base_image", f"{row['base_image']!r}; expected seg1 or seg2")
        if row["merge_rule"] not in ("", *MERGE_RULES):
            expected = " or ".join(MERGE_RULES)
            self.add_problem("merge_rule", f"{row['merge_rule']!r}; expected {expected}")
        if not row["seg2"] and (self.regions.merge or row["base_image"] == "seg2"):
            self.add_problem("seg2", "is empty, but merging needs a second segmentation; give seg2")
        if self._is_raw_its_own_segmentation():
            text = "is the raw image itself; name another file, or the channel of the labels"
            self.add_problem("seg1", text)
        if row["sha256"] and self.sha256.get("raw", row["sha256"]) != row["sha256"]:
            text = "the file has changed since it was curated (sha256); curate again"
            self.add_problem("raw", text)

    def _is_raw_its_own_segmentation(self) -> bool:
        row = self.row
        same_file = row["raw"] and row.location("raw") == row.location("seg1")
        other_channel = row["channel_seg1"] not in ("", row["channel"])
        other_scene = row["scene_seg1"] not in ("", row["scene"])
        return bool(same_file and not other_channel and not other_scene)

    def read_raw(self) -> None:
        """Read and check the raw image."""
        if "raw" not in self.files:
            return
        with self.errors_as_problems("raw"):
            scene = self.row["scene"] or None
            axes = stated_axes(self.row)
            plane = self.row.plane
            self.header = read_header(self.files["raw"], scene, axes, plane)
            time = self._time("time")
            before = len(self.problems)
            self._require_choice("raw", self.header, scene, time)
            if len(self.problems) > before:
                return
            pixels = read_image(self.files["raw"], self.channel, scene, time, axes, plane).data
            self.shape = pixels.shape[1:]
            self.pixel_hash = _hash_pixels(pixels)
            sizes = self.row["spacing_um"].replace(",", " ").replace(";", " ").split()
            if len(sizes) == 2 and len(self.shape) == 3:
                text = "has two numbers, but the image is a stack; give z y x"
                self.add_problem("spacing_um", text)
            self._check_intensities(pixels)
            self.raw = pixels

    def _time(self, column: str) -> int | None:
        return int(self.row[column]) if self.row[column].isdigit() else None

    def _require_choice(
        self, column: str, header: Header, scene: str | None, time: int | None
    ) -> None:
        """Add a problem where a file has several scenes or time points and the row names none."""
        if scene is None and len(header.scenes) > 1:
            scenes = ", ".join(header.scenes)
            self.add_problem(column, f"the file holds scenes {scenes}; name one in column 'scene'")
        if time is None and header.shape[0] > 1:
            hint = " (or is z saved as time?)" if header.shape[2] == 1 else ""
            text = f"the file holds {header.shape[0]} time points; name one in column 'time'{hint}"
            self.add_problem(column, text)

    def _check_intensities(self, pixels: np.ndarray) -> None:
        if pixels.dtype.kind in "fc":
            bad = pixels.size - np.count_nonzero(np.isfinite(pixels))
            if bad:
                text = f"holds {bad} values that are NaN or infinite; export it again"
                self.add_problem("raw", text)
                return
        # one constant channel of several is good (an RGB export); an image without signal is not
        if all(plane.min() == plane.max() for plane in pixels):
            text = f"{IS_CONSTANT}: {pixels.flat[0]} everywhere; leave it out"
            self.add_problem("raw", text)

    def read_labels(self, column: str) -> np.ndarray | None:
        """Return labels that fit the raw image; None where there are none or they have a problem.

        Parameters
        ----------
        column : str
            ``seg1`` or ``seg2``.

        Returns
        -------
        ndarray of unsigned integers or None
            ([Z,] Y, X).
        """
        if column not in self.files:
            return None
        path, before = self.files[column], len(self.problems)
        with self.errors_as_problems(column):
            channel = self.row[f"channel_{column}"] or None
            part = part_of(self.row, column, path)
            header = read_header(path, part.scene, part.axes, part.plane)
            self._require_choice(column, header, part.scene, part.time)
            if channel is None and header.shape[1] > 1:
                channels = ", ".join(f"{i}: {name}" for i, name in enumerate(header.channels))
                text = f"has channels {channels}; name one in column 'channel_{column}'"
                self.add_problem(column, text)
            if len(self.problems) > before:
                return None
            values = read_plane_or_stack(
                path, channel, part.scene, part.time, part.axes, part.plane
            )
            labels = as_labels(path, values, self.ignore)
            if self.ignore:
                self.unlabelled[column] = np.isin(values, self.ignore)
            if self.shape and labels.shape != self.shape:
                self.add_problem(column, f"shape {labels.shape} but raw is {self.shape}")
            elif self.shape:
                self._check_spacing(column, header)
            return labels if len(self.problems) == before else None
        return None

    def _check_spacing(self, column: str, header: Header) -> None:
        """Compare the voxel sizes of the two files, unless the row itself names one."""
        raw, own = self.header.spacing_um if self.header else None, header.spacing_um
        if (
            raw
            and own
            and not self.row["spacing_um"]
            and spacings_differ(raw, own, len(self.shape))
        ):
            found, expected = (" x ".join(f"{size:g}" for size in sizes) for sizes in (own, raw))
            text = f"voxel size (z x y x x) is {found} um but raw has {expected} um"
            self.add_problem(column, f"{text}; give the right one (spacing_um)")


def _masks_of_row(row: Row) -> Regions:
    exclude, merge = (row.location(column) for column in ("exclude_mask", "merge_mask"))
    return Regions((exclude,) if exclude else (), (merge,) if merge else ())


def _hash_pixels(pixels: np.ndarray) -> str:
    """Return the SHA-256 of an array's shape, dtype and values."""
    digest = hashlib.sha256(f"{pixels.shape} {pixels.dtype.str} ".encode())
    for plane in pixels:  # by channel: memory that is not contiguous must be copied
        digest.update(np.ascontiguousarray(plane).data)
    return digest.hexdigest()
