"""Networks from checkpoints, applied to batches of windows."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cytoloop.errors import ConfigError, ModelError
from cytoloop.inference.postprocess.training_facts import TrainingFacts
from cytoloop.inference.settings import WindowSettings
from cytoloop.inference.windows.ensemble import check_same_windows
from cytoloop.inference.windows.intensity import measure_intensity
from cytoloop.inference.windows.layout import WindowLayout, overlap_voxels, receptive_radius
from cytoloop.inference.windows.map_names import SKELETONS, map_dtype, map_names
from cytoloop.inference.windows.object_scale import ObjectScale
from cytoloop.inference.windows.test_time_augmentation import views
from cytoloop.intensity.filtered import Measured
from cytoloop.intensity.normalization import IntensityStats, normalize
from cytoloop.io.pixels import MemoryPixels, Pixels
from cytoloop.io.voxel_size import Spacing
from cytoloop.model.checkpoint import Checkpoint, build_network
from cytoloop.model.hardware import (
    choose_device,
    choose_precision,
    is_channels_last_faster,
    use_channels_last,
)
from cytoloop.model.image_settings import require_image_settings
from cytoloop.model.trust import build_preparation, is_library
from cytoloop.model.windows import largest_window, total_stride

log = logging.getLogger(__name__)

_DTYPES = {"bf16": torch.bfloat16, "16": torch.float16}
_CPU_PATCHES, _ACCELERATOR_PATCHES = 4, 64
"""Training patches per batch for ``batch_size=auto``; a CPU is no faster with more."""


class Predictor:
    """The mean of one or several networks, for windows of an image.

    Parameters
    ----------
    checkpoints : sequence of Checkpoint
        One, or an ensemble of the same dimensions, channels, patch size and heads.
    settings : WindowSettings, optional

    Raises
    ------
    ConfigError
        The accelerator does not exist on this machine.
    ModelError
        The networks of an ensemble do not take the same windows, or a checkpoint lacks a setting.
    """

    def __init__(
        self, checkpoints: Sequence[Checkpoint], settings: WindowSettings | None = None
    ) -> None:
        self.settings = settings or WindowSettings()
        self.checkpoints = list(checkpoints)
        for one in self.checkpoints:
            require_image_settings(str(one.path), one.image)
        self.image: Mapping[str, Any] = self.checkpoints[0].image
        for other in self.checkpoints[1:]:
            check_same_windows(self.checkpoints[0], other)
        self.device = choose_device(self.settings.accelerator)
        precision = self.settings.precision
        if precision == "auto":
            precision = choose_precision(self.device.type)
        self.dtype = _DTYPES.get(precision.removesuffix("-mixed"))
        self.networks = [build_network(c).to(self.device) for c in self.checkpoints]
        self.preparation = build_preparation(
            str(self.checkpoints[0].path), self.image.get("preparation")
        )
        self.size = tuple(int(s) for s in self.image["patch_size"])
        self.halo = [int(margin) for margin in self.image.get("halo") or (0,) * len(self.size)]
        for network in self.networks:
            if is_channels_last_faster(network, self.device.type):
                use_channels_last(network, len(self.size))
        backbone = self.checkpoints[0].backbone
        strides = backbone.get("strides") if is_library(str(backbone.get("_target_"))) else None
        self.shrinkage = total_stride(strides, len(self.size))
        fits = zip(self.shrinkage or (1,) * len(self.size), self.size, strict=True)
        self.stride = tuple(t if s % t == 0 else 1 for t, s in fits)
        if any(s - 2 * h < t for s, h, t in zip(self.size, self.halo, self.stride, strict=True)):
            found = f"has a halo of {self.halo} voxels in windows of {list(self.size)}"
            raise ModelError(str(self.checkpoints[0].path), found, "Take a model with less halo.")
        self.views = views(self.settings.tta, self.size)
        if self.image.get("output") == SKELETONS and len(self.views) > 1:
            raise ConfigError(
                f"tta={self.settings.tta}",
                "the model predicts offsets, whose direction changes with a flip",
                "Use tta=none.",
            )
        radii = [
            receptive_radius(network, int(self.image["channels"]), self.size)
            for network in (self.networks if self.settings.overlap == "auto" else ())
        ]
        self.radius = [max(r) for r in zip(*radii, strict=True)] or [0] * len(self.size)
        self._max_batch = sys.maxsize  # lowered when a batch does not fit into memory

    def resamples(self, requested: bool | str = "auto") -> bool:
        """Return whether images are resampled to the voxel size of training; auto: as it did."""
        return bool(self.image.get("resample")) if requested == "auto" else bool(requested)

    @property
    def spacing_um(self) -> Spacing | None:
        """Voxel size (Z, Y, X) of the training images, None where it was unknown."""
        spacing = self.image.get("spacing_um")
        return (float(spacing[0]), float(spacing[1]), float(spacing[2])) if spacing else None

    @cached_property
    def scale(self) -> ObjectScale | None:
        """The size of objects that the model knows; None where it is unknown."""
        return ObjectScale.of_model(self.image)

    @cached_property
    def training(self) -> TrainingFacts:
        """Facts about the training images, for post-processing."""
        return TrainingFacts.from_checkpoint(self.image)

    @property
    def maps(self) -> tuple[str, ...]:
        """Names of the predicted maps, see `map_names`."""
        return map_names(self.image)

    def map_dtype(self, probability_dtype: str) -> str:
        """Return the dtype of the stored maps, see `map_dtype`."""
        return map_dtype(self.image, probability_dtype)

    @property
    def model_sha256(self) -> str:
        """Hash of the checkpoint; of an ensemble all of them, joined by ``+``."""
        return "+".join(c.sha256 for c in self.checkpoints)

    def layout(self, shape: Sequence[int]) -> WindowLayout:
        """Return the windows that cover an image of a shape."""
        size = self.size
        if self.settings.window == "auto" and self.image.get("window") != "patch":
            whole = [n + 2 * margin for n, margin in zip(shape, self.halo, strict=True)]
            size = largest_window(whole, self.size, self.shrinkage and self.stride)
        if any(view.turns for view in self.views):  # a rotated window must have the same shape
            size = (*size[:-2], min(size[-2:]), min(size[-2:]))
        overlap = overlap_voxels(self.settings.overlap, size, self.radius, self.halo)
        return WindowLayout(shape, size, overlap, self.stride, self.halo)

    def batch_size(self, layout: WindowLayout) -> int:
        """Return the number of windows per batch, at least 1.

        `WindowSettings.batch_size` counts windows of the size of a training patch; of larger
        windows a batch holds fewer. `predict` halves a batch that does not fit into memory.
        """
        patches = self.settings.batch_size
        if patches == "auto":
            patches = _CPU_PATCHES if self.device.type == "cpu" else _ACCELERATOR_PATCHES
        patches = int(patches)
        return max(patches * math.prod(self.size) // math.prod(layout.size), 1)

    def filtered_pixels(
        self, name: str, pixels: Pixels, measured: Measured | None = None
    ) -> tuple[Pixels, Measured]:
        """Return an image behind the filters of its preparation, see `filter_pixels`.

        An image of one grey level stays as it is.
        """
        if self.preparation is None or not self.preparation.filters:
            return pixels, []
        if measured is None and measure_intensity(name, pixels, []) is None:
            return pixels, []
        return self.preparation.filter(name, pixels, measured)

    def measure_intensity(self, name: str, pixels: Pixels) -> list[IntensityStats] | None:
        """Return the statistics for each network's normalisation, see `measure_intensity`.

        Parameters
        ----------
        name : str
            Of the image, for messages.
        pixels : Pixels
            Filtered.
        """
        rules = [checkpoint.image["normalization"] for checkpoint in self.checkpoints]
        return measure_intensity(name, pixels, rules)

    def prepared_pixels(
        self, pixels: Pixels, levels: list[IntensityStats]
    ) -> tuple[Pixels, list[IntensityStats]]:
        """Return the image after the functions of its preparation; offset is 0 and scale 1.

        Functions get the whole image, which is therefore held in memory. Without functions,
        pixels and statistics are returned as they are.

        Parameters
        ----------
        pixels : Pixels
            Filtered.
        levels : list of (ndarray, ndarray)
            See `measure_intensity`.
        """
        if self.preparation is None or not self.preparation.functions:
            return pixels, levels
        whole = normalize(pixels.read(tuple(slice(0, n) for n in pixels.shape)), *levels[0])
        image = self.preparation.apply(whole)
        count = len(pixels.channels)
        unit = (np.zeros(count, np.float32), np.ones(count, np.float32))
        prepared = MemoryPixels(image, pixels.spacing_um, pixels.channels, pixels.origin_um)
        return prepared, [unit] * len(levels)

    def prepare(self, planes: np.ndarray, levels: Sequence[IntensityStats]) -> np.ndarray:
        """Return planes (C, ...) normalised for the first network, float32."""
        return normalize(planes, *levels[0])

    def predict(self, windows: np.ndarray, levels: Sequence[IntensityStats]) -> np.ndarray:
        """Return the maps of windows; with `skip_empty` 0 for windows of one grey level.

        Parameters
        ----------
        windows : ndarray of float32
            (B, C, *window), prepared.
        levels : sequence of (ndarray, ndarray)
            See `measure_intensity`.

        Returns
        -------
        ndarray of float32
            (B, K, *window), the mean over networks and views: in [0, 1], see also `map_names`.
        """
        if not self.settings.skip_empty:
            return self._predict_in_parts(windows, levels)
        flat = windows.reshape(len(windows), -1)
        filled = flat.min(axis=1) < flat.max(axis=1)
        maps = np.zeros((len(windows), len(self.maps), *windows.shape[2:]), np.float32)
        if filled.any():
            maps[filled] = self._predict_in_parts(windows[filled], levels)
        return maps

    def _predict_in_parts(
        self, windows: np.ndarray, levels: Sequence[IntensityStats]
    ) -> np.ndarray:
        """Return the maps of windows: one batch, or several where memory is too small."""
        if len(windows) <= self._max_batch:
            try:
                return self.predict_batch(windows, levels)
            except torch.OutOfMemoryError:
                if len(windows) == 1:
                    raise
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()
                self._max_batch = len(windows) // 2
                log.info("batch size lowered to %d: more does not fit into memory", self._max_batch)
        parts = range(0, len(windows), self._max_batch)
        return np.concatenate(
            [self._predict_in_parts(windows[i : i + self._max_batch], levels) for i in parts]
        )

    @torch.inference_mode()
    def predict_batch(self, windows: np.ndarray, levels: Sequence[IntensityStats]) -> np.ndarray:
        """Return the maps of one batch; parameters and result are those of `predict`."""
        total: Tensor | None = None
        for network, stats in zip(self.networks, levels, strict=True):
            offset, scale = stats[:2]
            image = torch.from_numpy(windows).to(self.device)
            if network is not self.networks[0]:  # from the first network's units to its own
                spread = (-1, *[1] * (windows.ndim - 2))
                times = torch.from_numpy((levels[0][1] / scale).reshape(spread)).to(image)
                plus = torch.from_numpy(((levels[0][0] - offset) / scale).reshape(spread))
                image = image * times + plus.to(image)
            for view in self.views:
                with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
                    logits = network(view.apply(image))
                logits = logits[0] if isinstance(logits, (tuple, list)) else logits
                if logits.shape[1] < len(self.maps):
                    found = f"has {logits.shape[1]} outputs for {', '.join(self.maps)}"
                    raise ModelError(
                        str(self.checkpoints[0].path), found, "The file is damaged; use another."
                    )
                maps = view.invert(self._activate(logits[:, : len(self.maps)].float()))
                total = maps if total is None else total + maps
        if total is None:
            raise ModelError("predict", "there is no network", "Give checkpoint=.")
        return (total / (len(self.networks) * len(self.views))).contiguous().cpu().numpy()

    def _activate(self, logits: Tensor) -> Tensor:
        """Return maps: probabilities, or the network's own values where it predicts others."""
        if not self.image.get("output"):
            return logits.sigmoid()
        names = self.maps
        if "probability" in names:
            number = names.index("probability")
            logits[:, number] = logits[:, number].sigmoid()
        return logits
