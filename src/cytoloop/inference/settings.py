"""The settings of each stage of prediction: typed, and validated in one place.

`cytoloop.inference.read_settings` makes them once, where a prediction starts, and each stage
receives only its own. The settings of post-processing are in
`cytoloop.inference.postprocess.settings`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cytoloop.errors import ConfigError
from cytoloop.inference.postprocess.settings import PostprocessSettings
from cytoloop.io.voxel_size import Spacing

NO_DIAMETER = "none"
"""Value of ``object_diameter_um`` for images that stay as they are."""
HEADS = ("distance", "contour")
"""Maps that a network may predict beside the probability of foreground."""
BRIGHTNESS = "brightness"
"""A map of the image itself, see `cytoloop.inference.windows.brightness`."""
MAPS = ("probability", *HEADS, BRIGHTNESS)
"""Maps from which objects are made."""
OUTPUTS = ("probability", "mask", "labels", "objects")
FORMATS = ("auto", "ome-tiff", "ome-zarr", "ome-zarr-0.5")
DTYPES = ("uint8", "float16")
"""Stored probabilities: 0..255 or 0..1."""
WINDOWS = ("auto", "patch")
TEST_TIME_AUGMENTATIONS = ("none", "flips", "full")
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
PRECISIONS = ("auto", "32", "bf16", "16", "bf16-mixed", "16-mixed")


@dataclass(frozen=True)
class ReadingSettings:
    """How an input image is read.

    Attributes
    ----------
    channel : str, int, list or None
        Channel(s) of the input; a channel in the image's row has priority.
    spacing_um : tuple of float or None
        Voxel size (Z, Y, X) where the row and the file do not state it.
    pyramid_level : int or ``auto``
        0 is full resolution. ``auto``: 0; with `resample` the coarsest level whose pixels are at
        most 10 % larger than those of the training images.
    resample : bool or ``auto``
        Predict at the voxel size of the training images; results are at that of the image.
        ``auto``: as in training, see `Predictor.resamples`.
    planes : bool or ``auto``
        A 2D model takes a stack plane by plane. ``auto``: if it was trained on planes of stacks.
    object_diameter_um : float, ``auto`` or None
        Typical diameter of the objects, in pixels where no voxel size is known: the image is
        predicted on a grid on which they are as large as the model knows them. ``auto``: measured
        in each image. None: ``auto`` for a model of objects of many sizes, such as a shipped one.
        ``none``, and None for other models: the grid follows `resample`.
    """

    channel: Any = None
    spacing_um: Spacing | None = None
    pyramid_level: int | str = "auto"
    resample: bool | str = "auto"
    planes: bool | str = "auto"
    object_diameter_um: float | str | None = None

    def __post_init__(self) -> None:
        problems = [] if self.resample == "auto" else _bool_problems("resample", self.resample)
        problems += [] if self.planes == "auto" else _bool_problems("planes", self.planes)
        diameter = self.object_diameter_um
        if diameter not in (None, "auto", NO_DIAMETER) and not _is_positive(diameter):
            problems.append(f"object_diameter_um={diameter}: expected auto, none, or um above 0")
        if diameter not in (None, NO_DIAMETER) and self.resample is True:
            problems.append("resample=true and object_diameter_um exclude each other")
        level, spacing = self.pyramid_level, self.spacing_um
        if level != "auto" and not _is_whole(level, 0):
            problems.append(f"pyramid_level={level}: expected auto, or a whole number from 0")
        if spacing is not None and not (
            isinstance(spacing, tuple) and len(spacing) == 3 and all(map(_is_positive, spacing))
        ):
            shown = list(spacing) if isinstance(spacing, tuple) else spacing
            problems.append(f"spacing_um={shown}: expected [z, y, x] in um, above 0")
        _raise_if(problems)


@dataclass(frozen=True)
class WindowSettings:
    """How the network runs over the windows of an image.

    Attributes
    ----------
    window : str
        ``patch``: windows of the size of the training patches. ``auto``: larger ones, up to a
        million voxels and the size of the image. A network with instance norm takes contrast from
        its window, and finds objects in the noise of a small empty one.
    overlap : float or ``auto``
        Overlap of neighbouring windows, a fraction in [0, 1); ``auto``: measured from the
        receptive field, see `cytoloop.inference.windows.layout.overlap_voxels`.
    tta : str
        Test-time augmentation: none, flips or full.
    batch_size : int or ``auto``
        Windows per batch.
    skip_empty : bool
        Windows of a single grey level are background.
    accelerator : str
        One of `ACCELERATORS`.
    precision : str
        One of `PRECISIONS`.
    """

    window: str = "auto"
    overlap: float | str = "auto"
    tta: str = "none"
    batch_size: int | str = "auto"
    skip_empty: bool = False
    accelerator: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        problems = [
            *_choice_problems("window", self.window, WINDOWS),
            *_choice_problems("tta", self.tta, TEST_TIME_AUGMENTATIONS),
            *_choice_problems("accelerator", self.accelerator, ACCELERATORS),
            *_choice_problems("precision", self.precision, PRECISIONS),
            *_bool_problems("skip_empty", self.skip_empty),
        ]
        overlap = self.overlap
        if overlap != "auto" and not (isinstance(overlap, (int, float)) and 0 <= overlap < 1):
            problems.append(f"overlap={overlap}: expected auto, or 0 <= overlap < 1")
        if self.batch_size != "auto" and not _is_whole(self.batch_size, 1):
            problems.append(
                f"batch_size={self.batch_size}: expected auto, or a whole number above 0"
            )
        _raise_if(problems)


@dataclass(frozen=True)
class OutputSettings:
    """What is written for an image.

    Attributes
    ----------
    save : tuple of str
        Some of `OUTPUTS`.
    format : str
        One of `FORMATS`; ``auto``: OME-Zarr for an image that does not fit into memory.
    probability_dtype : str
        One of `DTYPES`.
    """

    save: tuple[str, ...] = OUTPUTS
    format: str = "auto"
    probability_dtype: str = "uint8"

    def __post_init__(self) -> None:
        problems = [
            *_choice_problems("format", self.format, FORMATS),
            *_choice_problems("probability_dtype", self.probability_dtype, DTYPES),
        ]
        if unknown := sorted(set(self.save) - set(OUTPUTS)):
            problems.append(f"save={unknown}: expected some of {', '.join(OUTPUTS)}")
        if not self.save:
            problems.append("save=[]: nothing would be written")
        _raise_if(problems)


@dataclass(frozen=True)
class PredictionSettings:
    """All settings that the results of an image depend on, by stage."""

    reading: ReadingSettings = field(default_factory=ReadingSettings)
    windows: WindowSettings = field(default_factory=WindowSettings)
    postprocess: PostprocessSettings = field(default_factory=PostprocessSettings)
    output: OutputSettings = field(default_factory=OutputSettings)
    calibrated: Mapping[str, float] = field(default_factory=dict)
    """Values of `postprocess` that labelled images chose; they stand for the model's tuned ones."""

    def digest(self) -> str:
        """Return 16 hex digits that differ where results may differ.

        Batch size and accelerator do not count.
        """
        values = asdict(self)
        for name in ("batch_size", "accelerator"):
            del values["windows"][name]
        text = json.dumps(values, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _choice_problems(name: str, value: Any, known: Sequence[str]) -> list[str]:
    return [] if value in known else [f"{name}={value}: expected {', '.join(known)}"]


def _bool_problems(name: str, value: Any) -> list[str]:
    return [] if isinstance(value, bool) else [f"{name}={value}: expected true or false"]


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_positive(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and value > 0


def _raise_if(problems: Sequence[str]) -> None:
    if problems:
        raise ConfigError("config", problems, "See `cytoloop predict --help`.")
