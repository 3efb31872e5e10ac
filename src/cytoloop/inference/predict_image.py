"""One image, from the file to its results: the unit that machines share out."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.errors import ImageError, OutputError
from cytoloop.inference.postprocess.classes import finish_classes
from cytoloop.inference.postprocess.settings import TrainingFacts, instance_rule, resolve_tuned
from cytoloop.inference.results.writers import choose_format, write_volume
from cytoloop.inference.settings import Settings
from cytoloop.inference.volume_storage import VolumeStorage
from cytoloop.inference.windows.predictor import Predictor
from cytoloop.inference.windows.probability_maps import (
    ProbabilityMaps,
    predict_maps,
    resample_to_image,
    resample_to_training,
)
from cytoloop.instances import segment
from cytoloop.instances.blocks import Blocks
from cytoloop.instances.heights import full_scale
from cytoloop.instances.objects import write_table
from cytoloop.instances.segment import BLOCK_VOXELS
from cytoloop.instances.thresholds import choose_threshold, histogram
from cytoloop.io.digest import file_hash
from cytoloop.io.pixels import Pixels, level_spacings, open_pixels
from cytoloop.io.voxel_size import Grid, Spacing
from cytoloop.manifest import Row, format_spacing

log = logging.getLogger(__name__)


def input_digest(row: Row) -> str:
    """Return a digest of an input: the contents of its file, and what the row chooses of it."""
    path = row.file("raw")
    content = file_hash(path) if path is not None and path.exists() else ""
    chosen = [row[name] for name in ("channel", "scene", "time", "spacing_um")]
    return hashlib.sha256(repr((content, chosen)).encode()).hexdigest()[:32]


def open_input(row: Row, settings: Settings, predictor: Predictor) -> Pixels:
    """Return the pixels of a row, in the channels that the model was trained on.

    Raises
    ------
    ImageError
        It cannot be read, or the model cannot take it.
    """
    path = row.file("raw") or ""
    wanted = row["channel"] or settings.channel
    level = _level(path, row["scene"] or None, settings, predictor)
    names = predictor.image.get("channel_names") or []
    pixels = open_pixels(path, wanted, row["scene"] or None, row.time, level)
    if wanted is None:
        chosen = _channels_by_name(row.id, pixels.channels, names)
        if chosen is not None:
            pixels = open_pixels(path, chosen, row["scene"] or None, row.time, level)
    predictor.check(str(path), pixels)
    stated = row.spacing_um if level == 0 else None
    known = stated or pixels.spacing_um or settings.spacing_um
    if known != pixels.spacing_um:
        pixels = _Spaced(pixels, known)
    check_spacing(row.id, known, predictor, settings.resample)
    return pixels


def predict_image(
    row: Row,
    predictor: Predictor,
    settings: Settings,
    output: Path,
    key: str,
    advance: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """Predict one image and write what is asked for.

    Parameters
    ----------
    row : Row
        With a ``name``, unique.
    predictor : Predictor
    settings : Settings
    output : Path
    key : str
        Digest of model, input and settings: what a stopped run left is used if it has the same.
    advance : callable
        Called with the share that is done.

    Returns
    -------
    dict
        Its cells of the table.

    Raises
    ------
    ImageError
        The image cannot be predicted; others may.
    OutputError
        Results cannot be written; those of other images cannot either.
    """
    pixels = open_input(row, settings, predictor)
    seen = resample_to_training(pixels, predictor) if settings.resample else pixels
    largest = max(pixels.shape, seen.shape, key=math.prod)
    with report_write_errors(output):
        scratch = VolumeStorage.beside(output, row["name"], largest, key)
        found = predict_maps(
            row.id,
            seen,
            predictor,
            scratch,
            settings.dtype,
            settings.batch_size,
            settings.skip_empty,
            advance,
        )
        return finish_row(
            row, resample_to_image(found, pixels.shape, scratch), pixels.grid,
            TrainingFacts.from_checkpoint(predictor.image), settings, output, scratch,
        )  # fmt: skip


def finish_row(
    row: Row,
    maps: ProbabilityMaps,
    grid: Grid,
    trained: TrainingFacts,
    settings: Settings,
    output: Path,
    scratch: VolumeStorage,
) -> dict[str, Any]:
    """Turn maps into mask, labels and table, and write what is asked for."""
    if trained.classes:
        return finish_classes(row, maps, grid, trained, settings, output, scratch)
    probability, spacing_um = maps["probability"], grid.spacing_um
    rules = resolve_tuned(settings.postprocess, trained)
    shape = tuple(probability.shape)
    volumes = dict(maps)
    cells: dict[str, Any] = {"spacing_um": format_spacing(spacing_um)}
    kinds = [kind for kind in settings.save if kind == "probability" or rules["instances"]]
    if "probability" in kinds:  # all that objects can be made from again
        kinds = [*maps, *(kind for kind in kinds if kind != "probability")]
    if set(kinds) - set(maps):
        blocks = Blocks.of(shape, BLOCK_VOXELS)
        threshold = choose_threshold(rules["threshold"], histogram(probability, blocks))
        rule = instance_rule(rules, threshold, spacing_um, trained, len(shape))
        assumed = spacing_um or trained.spacing_um
        labels, sums = segment(
            probability, rule, assumed, scratch.new, blocks.size, maps.get("distance"),
            maps.get("contour"),
        )  # fmt: skip
        cells |= {"objects": len(sums.voxels) - 1, "threshold": round(threshold, 4)}
        volumes["labels"] = labels
        if "mask" in kinds:
            volumes["mask"] = scratch.new("mask", shape, np.uint8, blocks.size)
            for box in blocks:
                cut = threshold * full_scale(probability.dtype)
                volumes["mask"][box] = (np.asarray(probability[box]) > cut).astype(np.uint8)
        if "objects" in kinds:
            cells["objects_table"] = f"objects/{row['name']}.csv"
            write_table(output / cells["objects_table"], sums.table(spacing_um))
    form = choose_format(row["name"], settings.format, scratch, grid)
    for kind in kinds:
        if kind != "objects":
            cells[kind] = write_volume(output, kind, row["name"], volumes[kind], grid, form)
    scratch.remove()
    return cells


@contextmanager
def report_write_errors(folder: Path) -> Iterator[None]:
    """Tell what is wrong with a disk that results cannot be written to.

    Raises
    ------
    OutputError
        It is full, or read-only.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(
            str(error.filename or folder),
            f"cannot be written: {error.strerror or error}",
            "Free disk space or take another output=, and run again: what is done is kept.",
        ) from error


class _Spaced(Pixels):
    """Pixels whose voxel size is told by the manifest, or on the command line."""

    def __init__(self, pixels: Pixels, spacing_um: Spacing | None) -> None:
        self._pixels = pixels
        self.shape, self.dtype = pixels.shape, pixels.dtype
        self.spacing_um, self.origin_um = spacing_um, pixels.origin_um
        self.channels = pixels.channels

    def read(self, box: tuple[slice, ...]) -> np.ndarray:
        return self._pixels.read(box)


def _level(path: Any, scene: Any, settings: Settings, predictor: Predictor) -> int:
    """Return the level of a pyramid that is predicted."""
    if settings.level != "auto":
        return int(settings.level)
    wanted = predictor.spacing_um
    if not settings.resample or wanted is None:
        return 0
    spacings = level_spacings(path, scene)
    fine = [
        level
        for level, spacing in enumerate(spacings)
        # pixels of the level are at most as large as those of the training images
        if spacing and all(s <= w * 1.1 for s, w in zip(spacing[1:], wanted[1:], strict=True))
    ]
    return max(fine, default=0)


def _channels_by_name(
    name: str, found: Sequence[str], trained: Sequence[str]
) -> list[str | int] | None:
    """Return the channels that were trained on in their order, where the image has them by name."""
    if not trained or not set(trained) <= set(found) or len(set(trained)) < len(trained):
        generic = any(n.startswith(("Channel:", "sample ")) for n in (*trained, *found))
        if len(trained) > 1 and not generic:
            log.warning(
                "%s: channels are %s, the model was trained on %s",
                name,
                ", ".join(found),
                ", ".join(trained),
            )
        return None
    if tuple(trained) == tuple(found):
        return None
    if any(n.startswith(("Channel:", "sample ")) for n in trained):
        log.warning(
            "%s: of %s takes %s, by number: the file has no names. Another: channel=NUMBER",
            name,
            ", ".join(found),
            ", ".join(trained),
        )
    return list(trained)


def check_spacing(name: str, known: Spacing | None, predictor: Predictor, resample: bool) -> None:
    """Warn of voxels that are more than twice as large or small as those of training.

    Raises
    ------
    ImageError
        They are unknown, and asked to be resampled.
    """
    trained = predictor.spacing_um
    if trained is None or (known is not None and resample):
        return
    if known is None:
        if resample:
            raise ImageError(
                name,
                "its voxel size is unknown, resample=true needs it",
                "Give spacing_um=[z,y,x].",
            )
        return
    pairs = list(zip(known, trained, strict=True))[-int(predictor.image["spatial_dims"]) :]
    if any(max(a / b, b / a) > 2 for a, b in pairs):  # a plane has no thickness
        log.warning(
            "%s: voxel %s um, but the model was trained on %s um: expect poor results, or predict "
            "with resample=true",
            name,
            format_spacing(known),
            format_spacing(trained),
        )
