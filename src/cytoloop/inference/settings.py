"""How images are predicted: the settings of the verb as plain values."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cytoloop.errors import ConfigError
from cytoloop.inference.postprocess.settings import check_postprocess
from cytoloop.inference.windows.probability_maps import DTYPES
from cytoloop.inference.windows.test_time_augmentation import CHOICES
from cytoloop.io.voxel_size import Spacing

OUTPUTS = ("probability", "mask", "labels", "objects")
FORMATS = ("auto", "ome-tiff", "ome-zarr")


@dataclass(frozen=True)
class Settings:
    """How images are predicted: plain values, the same for all of them.

    Attributes
    ----------
    postprocess : mapping
        The config group, `tuned` not yet replaced.
    save : tuple of str
        Some of `OUTPUTS`.
    channel : str, int, list or None
        Of the input; a row's own channel wins.
    spacing_um : tuple of float or None
        (Z, Y, X) where neither row nor file states it.
    level : int or ``auto``
        Of a pyramid; auto: the full one, with `resample` that nearest to the training images.
    resample : bool
        Predict at the voxel size of the training images, and bring the map back.
    dtype : str
        Of stored probabilities: uint8 (0..255) or float16 (0..1).
    format : str
        One of `FORMATS`; auto: OME-Zarr where an image does not fit into memory.
    overlap, tta, precision, window
        As the predictor was told: they are part of what results depend on.
    batch_size : int or ``auto``
        Windows at a time.
    skip_empty : bool
        Windows of one grey level are background.
    """

    postprocess: Mapping[str, Any]
    save: tuple[str, ...] = OUTPUTS
    channel: Any = None
    spacing_um: Spacing | None = None
    level: int | str = "auto"
    resample: bool = False
    dtype: str = "uint8"
    format: str = "auto"
    overlap: float | str = "auto"
    tta: str = "none"
    precision: str = "auto"
    window: str = "auto"
    batch_size: int | str = "auto"
    skip_empty: bool = False

    def digest(self) -> str:
        """Return what results depend on, as 16 hex digits; how many windows at a time is none."""
        facts = {k: v for k, v in asdict(self).items() if k != "batch_size"}
        text = json.dumps(facts, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def settings_of(values: Mapping[str, Any]) -> Settings:
    """Return the settings that the keys of the verb make."""
    save = values["save"]
    spacing = values["spacing_um"]
    return Settings(
        postprocess=values["postprocess"],
        save=tuple(save) if isinstance(save, list) else (str(save),),
        channel=values["channel"],
        spacing_um=tuple(spacing) if isinstance(spacing, list) else spacing,
        level=values["pyramid_level"],
        resample=bool(values["resample"]),
        dtype=str(values["probability_dtype"]),
        format=str(values["format"]),
        overlap=values["overlap"],
        tta=str(values["tta"]),
        precision=str(values["precision"]),
        window=str(values["window"]),
        batch_size=values["batch_size"],
        skip_empty=bool(values["skip_empty"]),
    )


def check_settings(settings: Settings, engine: str = "local", workers: Any = 1) -> None:
    """Refuse settings that cannot work, before a model is loaded.

    Raises
    ------
    ConfigError
        All of them at once.
    """
    problems = []
    if unknown := sorted(set(settings.save) - set(OUTPUTS)):
        problems.append(f"save={unknown}: expected some of {', '.join(OUTPUTS)}")
    if not settings.save:
        problems.append("save=[]: nothing would be written")
    for name, value in (("batch_size", settings.batch_size), ("workers", workers)):
        if (name, value) == ("batch_size", "auto"):
            continue
        if isinstance(value, bool) or not (isinstance(value, int) and value >= 1):
            problems.append(f"{name}={value}: expected a whole number above 0")
    for name, value, known in (
        ("tta", settings.tta, CHOICES),
        ("format", settings.format, FORMATS),
        ("window", settings.window, ("auto", "patch")),
        ("probability_dtype", settings.dtype, tuple(DTYPES)),
        ("engine", engine, ("local", "dask")),
    ):
        if value not in known:
            problems.append(f"{name}={value}: expected {', '.join(known)}")
    level, overlap = settings.level, settings.overlap
    if level != "auto" and not (isinstance(level, int) and level >= 0):
        problems.append(f"pyramid_level={level}: expected auto, or a number from 0")
    if overlap != "auto" and not (isinstance(overlap, (int, float)) and 0 <= overlap < 1):
        problems.append(f"overlap={overlap}: expected auto, or 0 <= overlap < 1")
    spacing = settings.spacing_um
    if spacing is not None and (
        len(spacing) != 3 or not all(math.isfinite(s) and s > 0 for s in spacing)
    ):
        problems.append(f"spacing_um={list(spacing)}: expected [z, y, x] in um, above 0")
    problems += check_postprocess(settings.postprocess)
    if problems:
        raise ConfigError("cytoloop predict", problems, "See `cytoloop predict --help`.")
