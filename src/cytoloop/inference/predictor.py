"""Networks from checkpoints, run over images of any size."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cytoloop.errors import ConfigError, ImageError, ModelError
from cytoloop.inference.test_time_augmentation import views
from cytoloop.inference.windows import Windows, overlap_of, receptive_radius
from cytoloop.intensity.normalization import SAMPLE, Levels, intensity_statistics, normalize
from cytoloop.io.pixels import Pixels, slabs
from cytoloop.io.voxel_size import Spacing
from cytoloop.model.checkpoint import Checkpoint, build_network
from cytoloop.model.hardware import choose_precision, is_channels_last_faster, use_channels_last
from cytoloop.model.windows import largest_window, total_stride
from cytoloop.truth.classes import class_heads, class_names

log = logging.getLogger(__name__)

_DTYPES = {"bf16": torch.bfloat16, "16": torch.float16}
_READ_VOXELS = 2**23
OTHER_HEADS = ("distance", "contour")
"""What a network may say beside the foreground, see `cytoloop.data.target_maps`."""


class Predictor:
    """The mean of one or several networks, window by window.

    Parameters
    ----------
    checkpoints : sequence of Checkpoint
        One, or an ensemble: of the same dimensions, channels and patch size.
    overlap : float or ``auto``
        Of neighbouring windows: a share in [0, 1), or by how far the networks look.
    tta : str
        Test-time augmentation: none, flips or full, see `cytoloop.inference.test_time_augmentation`.
    accelerator : str
        auto, cpu or gpu.
    precision : str
        auto, 32, bf16 or 16.
    window : str
        ``patch``: of the size of the training patches. ``auto``: larger, up to a million voxels
        and no larger than the image. A network with instance norm takes contrast from its window:
        in a small one that is empty it makes objects of the noise.

    Raises
    ------
    ConfigError, ModelError
        Settings that cannot be; networks that do not go together.
    """

    def __init__(
        self,
        checkpoints: Sequence[Checkpoint],
        overlap: float | str = "auto",
        tta: str = "none",
        accelerator: str = "auto",
        precision: str = "auto",
        window: str = "auto",
    ) -> None:
        self.checkpoints = list(checkpoints)
        self.image: Mapping[str, Any] = self.checkpoints[0].image
        for other in self.checkpoints[1:]:
            _go_together(self.checkpoints[0], other)
        self.device = _device(accelerator)
        if precision == "auto":
            precision = choose_precision(self.device.type)
        precision = str(precision).removesuffix("-mixed")
        if precision not in ("32", *_DTYPES):
            raise ConfigError("precision", f"{precision!r}", "Expected auto, 32, bf16 or 16.")
        self.precision = precision
        self.dtype = _DTYPES.get(precision)
        self.networks = [build_network(c).to(self.device) for c in self.checkpoints]
        self.size = tuple(int(s) for s in self.image["patch_size"])
        for network in self.networks:
            if is_channels_last_faster(network, self.device.type):
                use_channels_last(network, len(self.size))
        self.shrinkage = total_stride(self.checkpoints[0].backbone.get("strides"), len(self.size))
        fits = zip(self.shrinkage or (1,) * len(self.size), self.size, strict=True)
        self.stride = tuple(t if s % t == 0 else 1 for t, s in fits)
        self.views = views(tta, self.size)
        radii = [
            receptive_radius(network, int(self.image["channels"]), self.size)
            for network in (self.networks if overlap == "auto" else ())
        ]
        self.radius = [max(r) for r in zip(*radii, strict=True)] or [0] * len(self.size)
        self.overlap = overlap
        self.window = window
        self._most = sys.maxsize  # windows at a time, once it is known that more do not fit

    @property
    def spacing_um(self) -> Spacing | None:
        """Voxel size (Z, Y, X) of the training images, None where it was unknown."""
        spacing = self.image.get("spacing_um")
        return (float(spacing[0]), float(spacing[1]), float(spacing[2])) if spacing else None

    @property
    def maps(self) -> tuple[str, ...]:
        """Names of the maps: ``probability`` of foreground and what other heads say; or classes."""
        return map_names(self.image)

    @property
    def model_sha256(self) -> str:
        """Hash of the checkpoint; of an ensemble all of them."""
        return "+".join(c.sha256 for c in self.checkpoints)

    def check(self, name: str, pixels: Pixels) -> None:
        """Refuse an image that the networks cannot take.

        Raises
        ------
        ImageError
            Other dimensions or another number of channels than in training.
        """
        dims, wanted = len(pixels.shape), int(self.image["spatial_dims"])
        if dims == 2 and wanted == 3:
            raise ImageError(
                name,
                f"is one plane, shape {pixels.shape}, but the model was trained on stacks",
                "Give a stack of several planes, or a model trained on 2D images.",
            )
        if dims != wanted:
            raise ImageError(
                name,
                f"is {dims}D, shape {pixels.shape}, but the model was trained on {wanted}D",
                f"Give {wanted}D images, or a model trained on {dims}D ones.",
            )
        if len(pixels.channels) != int(self.image["channels"]):
            names = ", ".join(pixels.channels)
            raise ImageError(
                name,
                f"has {len(pixels.channels)} channels ({names}), the model takes "
                f"{self.image['channels']}",
                "Name the channel: channel=NUMBER or channel=NAME.",
            )

    def windows(self, shape: Sequence[int]) -> Windows:
        """Return the windows that cover an image."""
        size = self.size
        if self.window == "auto":
            size = largest_window(shape, self.size, self.shrinkage and self.stride)
        if any(view.turns for view in self.views):  # a turned window must be one of the same sides
            size = (*size[:-2], min(size[-2:]), min(size[-2:]))
        overlap = overlap_of(self.overlap, size, self.radius)
        return Windows(shape, size, overlap, self.stride)

    def levels(self, name: str, pixels: Pixels) -> list[Levels] | None:
        """Return what each network's normalisation takes from an image; None if it shows nothing.

        The image is read once, slab by slab; every k-th voxel counts where there are many.

        Raises
        ------
        ImageError
            Nothing but NaN and infinities.
        """
        every = math.prod(pixels.shape) // SAMPLE + 1
        taken, before = [], 0
        low = np.full(len(pixels.channels), np.inf)
        high, finite = -low, False
        for slab in slabs(pixels.shape, _READ_VOXELS):
            rest = tuple(slice(0, n) for n in pixels.shape[1:])
            flat = pixels.read((slab, *rest)).reshape(len(pixels.channels), -1)
            known = True
            if flat.dtype.kind == "f":
                flat = np.where(np.isfinite(flat), flat, np.nan)
                known = not np.isnan(flat).all()
            taken.append(flat[:, -before % every :: every].copy())
            before += flat.shape[1]
            finite |= known
            if not known:
                continue
            low = np.fmin(low, np.fmin.reduce(flat, axis=1))
            high = np.fmax(high, np.fmax.reduce(flat, axis=1))
        if not finite:
            raise ImageError(name, "holds no number (all NaN or infinite)", "Export it again.")
        if (low == high).all():
            return None
        sample = np.concatenate(taken, axis=1)
        return [intensity_statistics(sample, c.image["normalization"]) for c in self.checkpoints]

    def prepare(self, planes: np.ndarray, levels: Sequence[Levels]) -> np.ndarray:
        """Return planes (C, ...) in the units of the first network, float32."""
        return normalize(planes, *levels[0])

    def predict(self, windows: np.ndarray, levels: Sequence[Levels]) -> np.ndarray:
        """Return the maps of some windows, all at once or, where memory is short, in parts.

        Parameters and result are those of `predict_at_once`.
        """
        if len(windows) <= self._most:
            try:
                return self.predict_at_once(windows, levels)
            except torch.OutOfMemoryError:
                if len(windows) == 1:
                    raise
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()
                self._most = len(windows) // 2
                log.info("%d windows at a time fit into the memory", self._most)
        parts = range(0, len(windows), self._most)
        return np.concatenate([self.predict(windows[i : i + self._most], levels) for i in parts])

    @torch.inference_mode()
    def predict_at_once(self, windows: np.ndarray, levels: Sequence[Levels]) -> np.ndarray:
        """Return the maps of some windows: the mean over networks and views.

        Parameters
        ----------
        windows : ndarray of float32
            (B, C, *window), prepared.
        levels : sequence of (ndarray, ndarray)
            See `levels`.

        Returns
        -------
        ndarray of float32
            (B, K, *window), in [0, 1].
        """
        total: Tensor | None = None
        for network, (offset, scale) in zip(self.networks, levels, strict=True):
            image = torch.from_numpy(windows).to(self.device)
            if network is not self.networks[0]:  # from the units of the first to its own
                spread = (-1, *[1] * (windows.ndim - 2))
                times = torch.from_numpy((levels[0][1] / scale).reshape(spread)).to(image)
                plus = torch.from_numpy(((levels[0][0] - offset) / scale).reshape(spread))
                image = image * times + plus.to(image)
            for view in self.views:
                with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
                    logits = network(view.there(image))
                logits = logits[0] if isinstance(logits, (tuple, list)) else logits
                if logits.shape[1] < len(self.maps):
                    found = f"has {logits.shape[1]} outputs for {', '.join(self.maps)}"
                    raise ModelError(
                        str(self.checkpoints[0].path), found, "The file is damaged; take another."
                    )
                logits = logits[:, : len(self.maps)]
                maps = view.back(logits.float().sigmoid())
                total = maps if total is None else total + maps
        if total is None:
            raise ModelError("predict", "there is no network", "Give model=.")
        return (total / (len(self.networks) * len(self.views))).contiguous().cpu().numpy()


def map_names(image: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the maps that a network makes.

    Parameters
    ----------
    image : mapping
        What a checkpoint says of images; ``heads`` is the list of its outputs: the foreground
        first, or classes and nothing else (`cytoloop.truth.classes`).

    Raises
    ------
    ModelError
        A head that we do not know, or one twice.
    """
    heads = image.get("heads") or ["foreground"]
    if names := class_names(heads):
        return tuple(class_heads(names))
    listed = [str(head) for head in heads] if isinstance(heads, (list, tuple)) else []
    if not listed or listed[0] != "foreground" or not set(listed[1:]) <= set(OTHER_HEADS):
        raise ModelError(
            "model",
            f"its heads are {heads!r}"[:120],
            f"Known: foreground, {', '.join(OTHER_HEADS)}; or classes.",
        )
    return ("probability", *dict.fromkeys(listed[1:]))


def _go_together(one: Checkpoint, other: Checkpoint) -> None:
    keys = ("spatial_dims", "channels", "patch_size", "heads")
    different = [
        f"{key} is {other.image.get(key)}, that of {one.path.name} is {one.image.get(key)}"
        for key in keys
        if str(other.image.get(key)) != str(one.image.get(key))
    ]
    if different:
        raise ModelError(
            str(other.path), different, "The models of an ensemble take the same windows."
        )


def _device(accelerator: str) -> torch.device:
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda")
    if accelerator in ("gpu", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    if accelerator in ("auto", "cpu"):
        return torch.device("cpu")
    known = "auto, cpu, gpu, cuda, mps"
    found = "there is no such device" if accelerator in known.split(", ") else "is no accelerator"
    raise ConfigError("accelerator", f"{accelerator}: {found}", f"Use accelerator=cpu; of {known}.")
