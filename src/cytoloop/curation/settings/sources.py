"""Settings of the sources: where the images are, how they are paired, what is read of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cytoloop.curation.exchange.registry import DATASET_FORMATS, find_format
from cytoloop.curation.file_names import DATASET_CSV
from cytoloop.curation.settings.validation import (
    SettingProblem,
    checked_by,
    file_key,
    label_values,
    pattern,
    planes,
    spacing,
    time_point,
)
from cytoloop.manifest import absolute_path, is_table
from cytoloop.redact import redact_url
from cytoloop.urls import is_remote

SOURCES = ("raw", "seg1", "seg2", "merge", "exclude")


@dataclass(frozen=True, kw_only=True)
class SourceSettings:
    """Where the images are, and which files belong together.

    Attributes
    ----------
    raw : str, Path or None
        A folder, a glob pattern, or a file; a CSV with the columns ``raw`` and ``seg1``; or a data
        set of another tool, see `cytoloop.curation.exchange.registry`. None: only the rows of
        the previous round.
    seg1, seg2, merge, exclude : str, Path or None
        Folder, glob pattern or file of the segmentations, the merging and the excluding regions.
        None where `raw` is a table.
    key : str
        ``stem``, or a regular expression with ``(?P<id>...)``. Files with the same key are paired.
    group : str or None
        A regular expression with ``(?P<group>...)``, searched in the raw file's name and then
        in the id; or the name of a column of the CSV. None: each image is its own group.
    """

    raw: str | Path | None = None
    seg1: str | Path | None = None
    seg2: str | Path | None = None
    merge: str | Path | None = None
    exclude: str | Path | None = None
    key: str = field(default="stem", metadata=checked_by(file_key))
    group: str | None = field(default=None, metadata=checked_by(pattern("group")))

    @property
    def from_table(self) -> bool:
        """Whether `raw` is a CSV or another tool's data set, with rows instead of images."""
        if self.raw is None:
            return False
        if is_table(self.raw):
            return True
        return find_format(DATASET_FORMATS, absolute_path(str(self.raw))) is not None

    @property
    def sources(self) -> dict[str, str | Path | None]:
        """The sources whose files are paired by key."""
        return {name: getattr(self, name) for name in SOURCES}

    def source_problems(self) -> list[SettingProblem]:
        """Return sources that are missing, superfluous, or URLs."""
        urls = {name: str(source) for name, source in self.sources.items() if is_remote(source)}
        if urls:
            return [
                SettingProblem(
                    f"{name}={redact_url(url)}: is a URL; expected a folder, pattern or file on "
                    "this machine",
                    "Name each image in a CSV, whose cells may be URLs: raw=FILE.csv.",
                )
                for name, url in urls.items()
            ]
        partners = [name for name in SOURCES[1:] if getattr(self, name)]
        if self.raw is None:
            return [
                SettingProblem(f"{name}={getattr(self, name)}: needs raw images", "Give raw=.")
                for name in partners
            ]
        if self.from_table:
            return [
                SettingProblem(
                    f"{name}={getattr(self, name)}: the table raw={self.raw} names these files in "
                    f"its column {name!r}",
                    f"Leave out {name}=.",
                )
                for name in partners
            ]
        if not self.seg1:
            table = Path(str(self.raw), DATASET_CSV)
            repair = "Give seg1=FOLDER, or raw=FILE.csv with the columns raw and seg1."
            if absolute_path(str(table)).is_file():
                repair = f"This folder is a data set; its table is raw={table.as_posix()}."
            return [SettingProblem("seg1 is missing: every raw image needs a segmentation", repair)]
        return []


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """What is read from each image, where its row does not say it.

    Attributes
    ----------
    ignore_label : int, sequence of int or None
        Values of the segmentations that mark voxels nobody labelled; they are excluded.
    spacing_um : sequence of float or None
        Voxel size (Z, Y, X), or (Y, X), in um. None: as the file says.
    channel, channel_seg1, channel_seg2 : str, int or None
        Name or number of the channel. None: all channels of raw, the only one of a segmentation.
    scene, scene_seg1, scene_seg2 : str, int or None
        Name or number of the scene; in HDF5, of the dataset. None or ``all``: one row for each
        scene of raw; for a segmentation, the scene of raw.
    time, time_seg1, time_seg2 : str, int or None
        Time point, from 0, as for scenes.
    planes : str, bool or None
        True or ``all``: each plane of a stack is a picture; ``annotated``: each plane with a label.
        None: a stack is one 3D image.
    axes, axes_seg1, axes_seg2 : str or None
        Axes of files that do not state them, for example ``TYX``. None: as the file states; for a
        segmentation without stated axes, those of raw.
    """

    ignore_label: int | str | Sequence[int] | None = field(
        default=None, metadata=checked_by(label_values)
    )
    spacing_um: Sequence[float] | None = field(default=None, metadata=checked_by(spacing))
    channel: str | int | None = None
    channel_seg1: str | int | None = None
    channel_seg2: str | int | None = None
    scene: str | int | None = None
    scene_seg1: str | int | None = None
    scene_seg2: str | int | None = None
    time: str | int | None = field(default=None, metadata=checked_by(time_point(allow_all=True)))
    time_seg1: str | int | None = field(default=None, metadata=checked_by(time_point()))
    time_seg2: str | int | None = field(default=None, metadata=checked_by(time_point()))
    planes: str | bool | None = field(default=None, metadata=checked_by(planes))
    axes: str | None = None
    axes_seg1: str | None = None
    axes_seg2: str | None = None
