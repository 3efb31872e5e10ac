"""The image store: each row read once, checked and merged, then memory-mapped.

An entry is keyed by the contents of the row's files and by what was asked of them, so an
edited mask or another channel makes a new entry: nothing stale can be read. Entries appear whole
or not at all, so that runs share a store. It keeps to a size: what was not used for the longest
time goes first.
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
    BUILDING,
    GIB,
    build,
    build_or_error,
    estimate,
    row_key,
    size_text,
)
from cytoloop.data.cached_image import FACTS, CachedImage, measure_entry, open_entry
from cytoloop.errors import CytoloopError, ManifestError, OutputError
from cytoloop.manifest import Row
from cytoloop.workers.local import are_large, progress_bar, run_parallel

log = logging.getLogger(__name__)

_PACKED = 50
"""No image file is compressed by more than this, but for nearly empty ones."""
_ABANDONED_S = 24 * 3600
"""A building folder as old as this belongs to a run that was killed."""


class ImageCache:
    """Entries in a folder, made when first asked for.

    Parameters
    ----------
    folder : str or Path
    limit_gib : float, optional
        How large the store may become; None = as large as the disk allows.
    workers : int
        Images that are read at the same time; 0: as many as there are cores.
    classes : bool
        The values of the segmentations are classes.
    """

    def __init__(
        self,
        folder: str | Path,
        limit_gib: float | None = None,
        workers: int = 0,
        classes: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self.limit_gib = limit_gib
        self.workers = workers
        self.classes = classes

    def entries(self, rows: Sequence[Row], progress: bool = False) -> list[CachedImage]:
        """Return the entries of manifest rows, building those whose files are new.

        Parameters
        ----------
        rows : sequence of Row
        progress : bool
            Show a bar on the terminal.

        Raises
        ------
        ImageError, ManifestError
            Files that cannot be read, or that do not fit the raw image: those of every row.
        OutputError
            The disk is too small, or the store may not become large enough.
        """
        folders = [self.folder / row_key(row, self.classes) for row in rows]
        new = {f: r for f, r in zip(folders, rows, strict=True) if not (f / FACTS).is_file()}
        if new:
            self._make_room(list(new.values()), set(folders))
            self._build_all(list(new.items()), progress)
        entries = []
        for folder, row in zip(folders, rows, strict=True):
            try:
                os.utime(folder / FACTS)  # used now
                entries.append(open_entry(folder, row.id))
            except FileNotFoundError:  # another run, short of room, removed it just now
                build((folder, row), self.folder, self.classes)
                entries.append(open_entry(folder, row.id))
        if new:
            self._prune(set(folders))
        return entries

    def _build_all(self, jobs: list[tuple[Path, Row]], progress: bool) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        problems: list[CytoloopError] = []
        size = 0
        large = are_large([row.file("raw") for _, row in jobs])
        one = partial(build_or_error, store=self.folder, classes=self.classes)
        with progress_bar("reading images", len(jobs), progress) as advance:
            for _, result in run_parallel(one, jobs, self.workers, large):
                if isinstance(result, OutputError):
                    raise result  # no other image will fit either
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
                "Mend these rows, or reject them with `cytoloop curate`.",
            )
        log.info("read %d image(s) into the store %s: %s", len(jobs), self.folder, size_text(size))

    def _make_room(self, rows: list[Row], kept: set[Path]) -> None:
        """Say at once that the disk, or the limit, is too small; not after an hour."""
        place = next(p for p in (self.folder, *self.folder.parents) if p.is_dir())
        free = shutil.disk_usage(place).free
        files = [row.file(column) for row in rows for column in ("raw", "seg1", "seg2")]
        on_disk = sum(f.stat().st_size for f in files if f is not None and f.is_file())
        if self.limit_gib is None and on_disk * _PACKED < free:
            return  # far from full: no need to open every file for its exact size
        needed = sum(estimate(row) for row in rows)
        problems = []
        removable = sum(measure_entry(f) for f in self._stored() if f not in kept)
        if needed > free and self.limit_gib is not None and needed <= free + removable:
            self._prune(kept, needed - free)
            free = shutil.disk_usage(place).free
        if needed > free:
            problems.append(
                f"{len(rows)} image(s) need {size_text(needed)}, {size_text(free)} are free"
            )
        if self.limit_gib is not None:
            used = sum(measure_entry(folder) for folder in kept)
            if used + needed > self.limit_gib * GIB:
                problems.append(
                    f"this data set needs {size_text(used + needed)}, "
                    f"data.cache_limit_gib allows {self.limit_gib:g} GiB"
                )
        if problems:
            raise OutputError(
                str(self.folder),
                problems,
                "Free disk space, name another folder with paths.cache_dir=FOLDER, or raise "
                "data.cache_limit_gib.",
            )

    def _stored(self) -> list[Path]:
        """Return all entries, those used last at the end."""
        used = []
        for path in self.folder.glob(f"*/{FACTS}"):
            try:
                used.append((path.stat().st_mtime, path.parent))
            except FileNotFoundError:
                continue  # removed by another run
        return [folder for _, folder in sorted(used)]

    def _prune(self, kept: set[Path], extra: float = 0) -> None:
        """Remove what was not used for the longest time, until the store keeps to its limit.

        Entries of this run stay. One that another run has open keeps its data until that ends
        (Linux, macOS) or is not removed (Windows).
        """
        for path in self.folder.glob(f"{BUILDING}*"):
            try:
                age = time.time() - path.stat().st_mtime
            except FileNotFoundError:
                continue  # another run has finished or removed it
            if age > _ABANDONED_S:
                shutil.rmtree(path, ignore_errors=True)
        if self.limit_gib is None:
            return
        sizes = {folder: measure_entry(folder) for folder in self._stored()}
        excess = max(sum(sizes.values()) - self.limit_gib * GIB, extra)
        removed = 0
        for folder, size in sizes.items():
            if excess <= 0:
                break
            if folder in kept:
                continue
            aside = folder.with_name(f"{BUILDING}{os.getpid()}-{folder.name}")
            try:
                folder.rename(aside)  # at once: nobody sees half an entry
            except OSError:
                continue
            shutil.rmtree(aside, ignore_errors=True)
            excess -= size
            removed += 1
        if removed:
            log.info("removed %d image(s) from the store that were not used lately", removed)
