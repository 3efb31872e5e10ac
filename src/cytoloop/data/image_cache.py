"""The image cache: each manifest row is read, checked and merged once, then memory-mapped.

The key of a cached image is a hash of the row's files and of the choices in the row. An edited mask
or another channel gives another key, so that nothing outdated is read. Images appear complete or
not at all, so that several runs can share a cache. With a size limit, the least recently used
images are removed first.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from cytoloop.data.cache_builder import (
    GIB,
    TEMPORARY_PREFIX,
    build,
    build_or_error,
    cache_key,
    estimated_bytes,
    format_bytes,
)
from cytoloop.data.cached_image import METADATA, CachedImage, open_cached_image, size_in_bytes
from cytoloop.errors import CytoloopError, ManifestError, OutputError
from cytoloop.io.voxel_size import Spacing
from cytoloop.manifest import Row
from cytoloop.terminal import progress_bar
from cytoloop.workers.engine import Engine
from cytoloop.workers.local import has_large_files

log = logging.getLogger(__name__)

_MAX_COMPRESSION = 50
"""Image files are compressed by at most this factor, except for nearly empty images."""
_ABANDONED_S = 24 * 3600
"""A temporary folder of this age, in seconds, is left over from a run that was killed."""


class ImageCache:
    """Cached images in a folder, built when they are first needed.

    Parameters
    ----------
    folder : str or Path
    limit_gib : float, optional
        Maximum size of the cache in GiB; None for no limit.
    classes : bool
        The labels are classes.
    spacing_um : tuple of float, optional
        Voxel size (Z, Y, X) that all images are resampled to.
    engine : Engine, optional
        Which processes read images; default: one per core.
    """

    def __init__(
        self,
        folder: str | Path,
        limit_gib: float | None = None,
        classes: bool = False,
        spacing_um: Spacing | None = None,
        engine: Engine | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.limit_gib = limit_gib
        self.engine = engine or Engine(workers=0)
        self.classes = classes
        self.spacing_um = spacing_um

    def entries(self, rows: Sequence[Row], progress: bool = False) -> list[CachedImage]:
        """Return the cached images of manifest rows; build those that are missing.

        Parameters
        ----------
        rows : sequence of Row
        progress : bool
            Show a progress bar on the terminal.

        Raises
        ------
        ImageError, ManifestError
            Files that cannot be read or do not fit the raw image; all rows are listed.
        OutputError
            The disk or the size limit of the cache is too small.
        """
        folders = [self.folder / cache_key(row, self.classes, self.spacing_um) for row in rows]
        new = {f: r for f, r in zip(folders, rows, strict=True) if not (f / METADATA).is_file()}
        if new:
            self._make_room(list(new.values()), set(folders))
            self._build_all([(f.absolute(), r) for f, r in new.items()], progress)
        images = []
        for folder, row in zip(folders, rows, strict=True):
            try:
                os.utime(folder / METADATA)  # mark as recently used
                images.append(open_cached_image(folder, row.id))
            except FileNotFoundError:  # another run has just removed it to make room
                build((folder, row), self.folder, self.classes, self.spacing_um)
                images.append(open_cached_image(folder, row.id))
        if new:
            self._prune(set(folders))
        return images

    def _build_all(self, jobs: list[tuple[Path, Row]], progress: bool) -> None:
        """Build images in parallel; raise all errors together."""
        self.folder.mkdir(parents=True, exist_ok=True)
        problems: list[CytoloopError] = []
        size = 0
        large = has_large_files([row.file("raw") for _, row in jobs])
        build_one = partial(
            build_or_error,
            cache=self.folder.absolute(),
            classes=self.classes,
            spacing_um=self.spacing_um,
        )
        with progress_bar("reading images", len(jobs), progress) as advance:
            for _, result in self.engine.run(build_one, jobs, large):
                if isinstance(result, OutputError):
                    raise result  # the disk is full for all images
                if isinstance(result, CytoloopError):
                    problems.append(result)
                else:
                    size += result
                advance()
        if len(problems) == 1:
            raise problems[0]
        if problems:
            raise ManifestError(
                "training data",
                [line for p in problems for line in p.render().split("\n")],
                "Fix these rows, or reject them with `cytoloop curate`.",
            )
        text = "read %d image(s) into the image cache %s: %s"
        log.info(text, len(jobs), self.folder, format_bytes(size))

    def _make_room(self, rows: list[Row], kept: set[Path]) -> None:
        """Refuse rows that do not fit on the disk or into the limit, before any image is read."""
        existing = next(p for p in (self.folder, *self.folder.parents) if p.is_dir())
        free = shutil.disk_usage(existing).free
        files = [row.file(column) for row in rows for column in ("raw", "seg1", "seg2")]
        on_disk = sum(f.stat().st_size for f in files if f is not None and f.is_file())
        if self.limit_gib is None and on_disk * _MAX_COMPRESSION < free:
            return  # enough space for sure: the headers need not be read
        needed = sum(estimated_bytes(row) for row in rows)
        problems = []
        removable = sum(size_in_bytes(f) for f in self._by_last_use() if f not in kept)
        if needed > free and self.limit_gib is not None and needed <= free + removable:
            self._prune(kept, needed - free)
            free = shutil.disk_usage(existing).free
        if needed > free:
            problems.append(
                f"{len(rows)} image(s) need {format_bytes(needed)}, {format_bytes(free)} are free"
            )
        if self.limit_gib is not None:
            used = sum(size_in_bytes(folder) for folder in kept)
            if used + needed > self.limit_gib * GIB:
                problems.append(
                    f"this data set needs {format_bytes(used + needed)}, "
                    f"data.cache_limit_gib allows {self.limit_gib:g} GiB"
                )
        if problems:
            raise OutputError(
                str(self.folder),
                problems,
                "Free disk space, choose another folder with paths.cache_dir=FOLDER, or raise "
                "data.cache_limit_gib.",
            )

    def _by_last_use(self) -> list[Path]:
        """Return the folders of all cached images, the least recently used first."""
        used = []
        for path in self.folder.glob(f"*/{METADATA}"):
            try:
                used.append((path.stat().st_mtime, path.parent))
            except FileNotFoundError:
                continue  # removed by another run
        return [folder for _, folder in sorted(used)]

    def _prune(self, kept: set[Path], extra: float = 0) -> None:
        """Remove the least recently used images until the cache fits its limit.

        Images of this run are kept. An image that another run has open keeps its data until that
        run ends (Linux, macOS) or is not removed (Windows).

        Parameters
        ----------
        kept : set of Path
        extra : float
            Remove at least this many bytes.
        """
        for path in self.folder.glob(f"{TEMPORARY_PREFIX}*"):
            try:
                age = time.time() - path.stat().st_mtime
            except FileNotFoundError:
                continue  # finished or removed by another run
            if age > _ABANDONED_S:
                shutil.rmtree(path, ignore_errors=True)
        if self.limit_gib is None:
            return
        sizes = {folder: size_in_bytes(folder) for folder in self._by_last_use()}
        excess = max(sum(sizes.values()) - self.limit_gib * GIB, extra)
        removed = 0
        for folder, size in sizes.items():
            if excess <= 0:
                break
            if folder in kept:
                continue
            aside = folder.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{folder.name}")
            try:
                folder.rename(aside)  # atomic: no other run sees an incomplete image
            except OSError:
                continue
            shutil.rmtree(aside, ignore_errors=True)
            excess -= size
            removed += 1
        if removed:
            log.info("removed the %d least recently used image(s) from the image cache", removed)
